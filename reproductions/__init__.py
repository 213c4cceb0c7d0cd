"""One script for each published table; results are kept as protocol rows."""
