"""What every part of Sluice speaks of: genomes, rules, specs, results, candles; frozen structs and their hashes."""
