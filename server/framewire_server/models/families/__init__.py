"""The families of detectors, one file each, found through the entry point group `framewire.families`."""
