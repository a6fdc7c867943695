"""A rehearsal of several machines on one: hosts in namespaces, a run over them, and cuts in mid-run."""
