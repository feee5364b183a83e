"""What several commands do alike: inputs, adapters, rules, engines, forecasts."""
