"""Create the streams (set-up user only) and verify them (everybody): other settings are reported, never changed."""

from nats.errors import Error as NatsError
from nats.js.errors import APIError

from bus.client import Bus
from bus.streams import StreamSpec, difference, stream_config
from domain.errors import SluiceError, Unreachable


class StreamsDiffer(SluiceError):
    """A stream on the server is not what this version needs."""


async def missing_streams(bus: Bus, specs: tuple[StreamSpec, ...]) -> list[str]:
    """Names that do not exist yet; StreamsDiffer when one exists with other settings."""
    missing, wrong = [], []
    for spec in specs:
        name = spec.config.name or ""
        info = await bus.stream_info(name)
        if info is None:
            missing.append(name)
            continue
        wrong += [f"{name}: {line}" for line in difference(spec, stream_config(info))]
    if wrong:
        raise StreamsDiffer(
            "streams on the server have other settings than this version needs; nothing was changed: "
            + "; ".join(wrong)
        )
    return missing


async def create_streams(bus: Bus, specs: tuple[StreamSpec, ...]) -> list[str]:
    """Create what is missing and verify the rest; returns the names created."""
    missing = await missing_streams(bus, specs)
    for spec in specs:
        if spec.config.name in missing:
            await create_stream(bus, spec)
    return missing


async def create_stream(bus: Bus, spec: StreamSpec) -> None:
    """Unreachable when the server does not make it (now)."""
    try:
        await bus.js.add_stream(spec.config)
    except (NatsError, TimeoutError) as e:
        why = e.description if isinstance(e, APIError) else str(e) or "no answer"
        raise Unreachable(f"stream {spec.config.name} cannot be created: {why}") from e
