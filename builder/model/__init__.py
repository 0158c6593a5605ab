"""Values that cross stages: frozen, slotted, keyword-only; no disk, clock, network or randomness."""
