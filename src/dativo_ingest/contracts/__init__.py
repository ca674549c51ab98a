"""ODCS documents and the Arrow schemas they stand for."""
