"""Check a run directory, file by file; set aside what is damaged.

run.py            the whole way: folders → manifest → table → index and shards → findings
folders.py        which files there are, and which do not belong
manifest.py       every record once
table.py          table.parquet
readers.py        processes that open HDF5 files, which on damaged ones may crash or never come back
reader.py         what runs in such a process: one file → one `FileCheck`
contents.py       one shard, or the index, opened
layout.py         the variables that must be there
verdict.py        what the files say of each other → findings
repair.py         damaged files → RUN/damaged
finding.py        a finding, and all findings
"""
