//! Traces, receipts and their verification.
