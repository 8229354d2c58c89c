//! Table schemas: a JSON Schema document compiled to columns and checks.
