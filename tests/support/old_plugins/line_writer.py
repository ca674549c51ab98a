"""A writer of an earlier release, which keeps its file open from the first batch to the commit."""
import json
import os

from dativo_ingest.plugins import BaseWriter

print("line_writer is imported")


class LineWriter(BaseWriter):
    def __init__(self, asset_definition, target_config, output_base):
        super().__init__(asset_definition, target_config, output_base)
        self.lines = None
        self.count = 0

    def write_batch(self, records, file_counter):
        if self.lines is None:
            os.makedirs(self.output_base, exist_ok=True)
            self.path = os.path.join(self.output_base, self.asset_definition.name + ".jsonl")
            self.lines = open(self.path, "a")
        for record in records:
            self.lines.write(json.dumps(record, default=str) + "\n")
            self.count += 1
        print("batch", file_counter, "goes to", self.path)
        return [{"path": self.path, "size_bytes": self.lines.tell(), "record_count": len(records)}]

    def commit_files(self, file_metadata):
        self.lines.close()
        with open("written.log", "a") as log:
            log.write("%s: %d rows in %d batches through one open file\n" % (self.asset_definition.name, self.count, len(file_metadata)))
        return {"status": "success", "files_added": len(file_metadata)}
