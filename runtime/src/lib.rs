//! Runs a Program: memory planned, threads used, steps observed.
