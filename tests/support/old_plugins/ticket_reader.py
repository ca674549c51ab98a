"""An incremental reader of an earlier release: two kinds of state, a check, a discovery and files beside the job."""
import json
from pathlib import Path

from dativo_ingest.plugins import BaseReader, ConnectionTestResult, DiscoveryResult
from dativo_ingest.validator import IncrementalStateManager

STATE_FILE = Path("old_state/tickets.json")
_extracted = []  # in one process, the second stream once saw what the first one had left here


class TicketReader(BaseReader):
    def check_connection(self):
        if self.source_config.credentials.get("token") != "good-old-token":
            return ConnectionTestResult(
                success=False, message="Invalid API key " + self.source_config.credentials["token"], error_code="AUTH_FAILED"
            )
        return ConnectionTestResult(success=True, message="Connected", details={"api_version": "v1"})

    def discover(self):
        return DiscoveryResult(objects=[{"name": name, "type": "file"} for name in self._files()], metadata={})

    def _files(self):
        return sorted(path.stem for path in Path("tickets").glob("*.json"))

    def extract(self, state_manager):
        for name in self.source_config.objects:
            path = Path("tickets", name + ".json")
            document = json.loads(path.read_text())
            if IncrementalStateManager.should_skip_file(name, document["modified"], STATE_FILE):
                print("nothing new in", name)
                continue
            last = state_manager.get("last_id", 0)
            new = [row for row in document["rows"] if row["id"] > last]
            _extracted.append(name)
            yield [{**row, "extracted_before": len(_extracted) - 1} for row in new]
            state_manager.set("last_id", max(row["id"] for row in document["rows"]))
            IncrementalStateManager.update_file_state(name, document["modified"], STATE_FILE)
