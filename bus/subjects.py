"""Every subject on the bus is built here and nowhere else."""

import re

from domain.errors import BadInput

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")


def is_token(text: str) -> bool:
    """Whether it can stand in a subject as it is."""
    return _TOKEN.fullmatch(text) is not None


def token(value: str | int) -> str:
    """A single subject token; BadInput when it has dots, wildcards or spaces (a host name is made safe by `host_token`)."""
    text = str(value)
    if not is_token(text):
        raise BadInput(f"{text!r} cannot stand in a subject: only letters, digits, _ and - are allowed")
    return text


def host_token(name: str) -> str:
    """A host name as one subject token: dots and other signs become '-'."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", name)[:64] or "host"


def event_subject(type_: str, entity: str) -> str:
    """`mining.unit.validated` of entity X -> `ev.mining.unit.X.validated`."""
    context, kind, verb = type_.split(".")
    return f"ev.{context}.{kind}.{token(entity)}.{verb}"


def entity_filter(type_: str, entity: str) -> str:
    """All events of the entity that an event of `type_` belongs to."""
    context, kind, _ = type_.split(".")
    return f"ev.{context}.{kind}.{token(entity)}.>"


def work(lane: str, campaign: str, unit: str, replica: int) -> str:
    return f"work.{token(lane)}.{token(campaign)}.{token(unit)}.{replica}"


def work_of_unit(campaign: str, unit: str) -> str:
    return f"work.*.{token(campaign)}.{token(unit)}.>"


def claim(unit: str, replica: int, host: str, slot: str) -> str:
    return f"claim.{token(unit)}.{replica}.{token(host)}.{token(slot)}"


def claims_of_unit(unit: str) -> str:
    return f"claim.{token(unit)}.>"


def claims_of_replica(unit: str, replica: int) -> str:
    return f"claim.{token(unit)}.{replica}.>"


def result(campaign: str, unit: str, replica: int, host: str, slot: str) -> str:
    return f"result.{token(campaign)}.{token(unit)}.{replica}.{token(host)}.{token(slot)}"


def results_of_owner(campaign: str, unit: str, replica: int | str, owner_host: str, owner_slot: str = "*") -> str:
    return f"result.{token(campaign)}.{token(unit)}.{replica}.{token(owner_host)}.{owner_slot}"


def checkpoint(unit: str, replica: int, host: str, slot: str) -> str:
    return f"ckpt.{token(unit)}.{replica}.{token(host)}.{token(slot)}"


def checkpoints_of_host(unit: str, replica: int, host: str) -> str:
    return f"ckpt.{token(unit)}.{replica}.{token(host)}.>"


def checkpoints_of_replica(unit: str, replica: int) -> str:
    return f"ckpt.{token(unit)}.{replica}.>"


def artifact(host: str, sha256: str, part: int | str) -> str:
    return f"art.{host if host == '*' else token(host)}.{token(sha256)}.{part}"


def progress(host: str, agent: str) -> str:
    return f"telem.{token(host)}.{token(agent)}.progress"


def agent_log(host: str, agent: str) -> str:
    return f"log.{token(host)}.{token(agent)}"


def ops_report(host: str) -> str:
    """Where the watchdog of a joined machine says what became of its agents."""
    return f"telem.{token(host)}.watchdog.ops"


def parked(by: str, stream: str, seq: int) -> str:
    """One subject a message and agent, so that nothing is parked twice by the same agent kind."""
    return f"parked.{token(by)}.{token(stream)}.{seq}"


def seal(epoch: int, last_seq: int) -> str:
    """One subject a seal: no second one over the same events is ever stored."""
    return f"audit.seal.{epoch}.{last_seq}"


FINDING = "audit.finding"


def presence_key(host: str, agent: str) -> str:
    return f"{token(host)}.{token(agent)}"
