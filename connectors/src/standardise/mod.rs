//! Standardising: events to rows of typed columns.
