"""Everything a reader sees: tables, figures, the page, and the machine-readable results behind them."""
