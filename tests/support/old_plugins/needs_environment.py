"""A reader that cannot be imported without a variable of the environment."""
import os

from dativo_ingest.plugins import BaseReader

REGION = os.environ["SHOP_REGION"]


class RegionReader(BaseReader):
    def extract(self):
        yield [{"region": REGION}]
