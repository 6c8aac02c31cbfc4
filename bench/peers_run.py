"""The side of `bench/peers.py` that runs in the peers' environment: imports nothing of ours, prints JSON rows.

Signals are decided at the close of t and filled at the open of t + 1, as ours are. One strategy is run first, untimed, so that
compilation and imports are not counted.
"""

import importlib
import importlib.util
import json
import sys
import time
import warnings
from typing import Any

import numpy as np

FEE, SLIPPAGE, AMOUNT, CASH = 0.006, 0.0005, 1_000.0, 10_000.0
#: backtesting.py takes a quarter of a second each.
FEW = 5


def vectorbt_rows(asked: Any) -> dict[str, Any]:
    vectorbt: Any = importlib.import_module("vectorbt")
    entries = np.zeros_like(asked["entries"])
    entries[:, 1:] = asked["entries"][:, :-1]  # filled at the open behind the signal
    prices = {name: asked[name] for name in ("open", "high", "low", "close")}

    def one(k: int) -> int:
        portfolio = vectorbt.Portfolio.from_signals(
            prices["close"], entries[k], np.zeros(len(entries[k]), dtype=bool), price=prices["open"], open=prices["open"],
            high=prices["high"], low=prices["low"], sl_stop=asked["stop"][k], tp_stop=asked["target"][k],
            stop_entry_price="price", size=AMOUNT, size_type="value", fees=FEE, slippage=SLIPPAGE, init_cash=CASH, freq="5min",
        )  # fmt: skip
        portfolio.total_return()
        return int(portfolio.trades.count())

    return timed(f"vectorbt {vectorbt.__version__}", one, len(asked["stop"]))


def backtesting_rows(asked: Any) -> dict[str, Any]:
    pandas: Any = importlib.import_module("pandas")
    backtesting: Any = importlib.import_module("backtesting")
    names = ("open", "high", "low", "close", "volume")
    frame = pandas.DataFrame(
        {n.title(): asked[n] for n in names}, index=pandas.to_datetime(asked["time_ms"], unit="ms")
    )

    def one(k: int) -> int:
        entries, stop, target = asked["entries"][k], float(asked["stop"][k]), float(asked["target"][k])

        class Rules(backtesting.Strategy):  # type: ignore[misc]
            def init(self) -> None:
                pass

            def next(self) -> None:
                if entries[len(self.data) - 1] and not self.position:
                    price = self.data.Close[-1]
                    self.buy(size=AMOUNT / CASH, sl=price * (1 - stop), tp=price * (1 + target))

        # Its commission is one figure for every fill; fractions of a coin need another unit.
        scaled = frame.copy()
        scaled[["Open", "High", "Low", "Close"]] /= 1e6
        found = backtesting.Backtest(scaled, Rules, cash=CASH, commission=FEE, finalize_trades=True).run()
        return int(found["# Trades"])

    return timed(f"backtesting.py {backtesting.__version__}", one, min(FEW, len(asked["stop"])))


def timed(case: str, one: Any, count: int) -> dict[str, Any]:
    one(0)
    started = time.process_time()
    trades = [one(k) for k in range(count)]
    spent = time.process_time() - started
    return {"case": case, "us_per_backtest": round(spent * 1e6 / count, 1), "strategies": count, "trades": trades}


def main() -> None:
    warnings.simplefilter("ignore")
    asked = np.load(sys.argv[1])
    asked = {name: asked[name] for name in asked.files}
    peers = {"vectorbt": vectorbt_rows, "backtesting": backtesting_rows}
    rows = [make(asked) for name, make in peers.items() if importlib.util.find_spec(name) is not None]
    sys.stdout.write(json.dumps(rows) + "\n")


if __name__ == "__main__":
    main()
