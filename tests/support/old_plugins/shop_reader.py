"""A reader as plugins were written for the first releases: it knows nothing of processes."""
import logging
import multiprocessing
import os
import sys
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))

import requests
from dativo_ingest.config import SourceConfig
from dativo_ingest.plugins import BaseReader
from shop_paging import page_numbers

logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, format="OLD %(levelname)s %(message)s", force=True)
logger = logging.getLogger(__name__)

REGION = os.environ.get("SHOP_REGION", "nowhere")
PAGES_SEEN = []

print("shop_reader is imported")


def in_cents(price):
    return round(price * 100)


class ShopReader(BaseReader):
    def __init__(self, source_config: SourceConfig):
        super().__init__(source_config)
        self.url = source_config.connection["base_url"]
        self.headers = {"Authorization": "Bearer " + source_config.credentials["token"]}
        self.currencies = dict(line.strip().split("=") for line in open("settings/currencies.txt"))

    def fetch(self, page):
        from shop_names import clean  # a neighbour, imported late

        print("fetching page", page, "with", self.headers["Authorization"])
        response = requests.get(self.url + "/products", params={"page": page}, headers=self.headers, timeout=10)
        response.raise_for_status()
        PAGES_SEEN.append(page)
        return [{**row, "name": clean(row["name"])} for row in response.json()]

    def extract(self):
        size = self.source_config.engine["options"]["pages"]
        logger.info("reading %s pages", size)
        with ThreadPoolExecutor(2) as threads, multiprocessing.get_context("fork").Pool(2) as processes:
            for rows in threads.map(self.fetch, page_numbers(size)):
                cents = processes.map(in_cents, [row["price"] for row in rows])
                yield [
                    {**row, "cents": cent, "currency": self.currencies["default"], "region": REGION}
                    for row, cent in zip(rows, cents)
                ]
        sys.stdout.write("read %d pages\n" % len(PAGES_SEEN))
