"""The sources of conductivity data, each read into a `SourceTable`."""
