"""Which events have a cause in the log: type -> the types that `causationid` may name.

Every other type is a root: it tells of something from outside the log, which nobody wrote into it before. A person asked
(`cmd.campaign.requested`), brought candles (`data.dataset.imported`), looked at candles (`data.*.looked`, unless a campaign
does so by being opened) or restored a copy (`audit.epoch.opened`); a watchdog saw what became of an agent (`ops.agent.*`;
of a joined machine's, `causationid` names its report, as `TELEM.<sequence>`).
The cause is what made the publisher write the event: the newest of the facts without which it would not have. It lies
before its effect in the log. What else an event rests on follows from its content (`projections.lineage`).
"""

#: Named by what is written about a unit before the log is read back, and by events of earlier versions.
_OPENED = "mining.campaign.opened"
_VERDICTS = ("mining.unit.validated", "mining.unit.inconclusive", "mining.unit.parked")
#: A replica that is asked for: with its unit, or because owners disagreed.
_ASKED = ("mining.unit.opened", "mining.unit.replica_requested")
#: What was asked for, where the answer reached the log before the claim: nobody waits for a claim.
_WORKED = ("mining.unit.replica_claimed", *_ASKED)

CAUSES: dict[str, tuple[str, ...]] = {
    "mining.campaign.refused": ("cmd.campaign.requested",),
    "mining.campaign.opened": ("cmd.campaign.requested",),
    "mining.unit.opened": (_OPENED,),
    "mining.queue.replica_queued": (*_ASKED, _OPENED),
    "mining.queue.replica_withheld": (*_ASKED, _OPENED),
    "mining.unit.replica_claimed": _ASKED,
    "mining.unit.replica_released": _WORKED,
    "mining.unit.replica_answered": _WORKED,
    "mining.unit.replica_requested": ("mining.unit.replica_answered",),
    "mining.unit.validated": ("mining.unit.replica_answered",),
    "mining.unit.inconclusive": ("mining.unit.replica_answered",),
    "mining.unit.parked": _WORKED,
    "ops.kernel.flagged": ("mining.unit.replica_answered",),
    "strategy.strategy.discovered": ("mining.unit.replica_answered", "mining.unit.validated"),
    "strategy.strategy.validated": ("mining.unit.validated",),
    "mining.campaign.finished": (*_VERDICTS, _OPENED),
    "mining.campaign.judged": ("mining.campaign.finished",),
}
#: Roots when a person does it, caused when an agent does.
SOMETIMES: dict[str, tuple[str, ...]] = {"data.holdout.looked": (_OPENED,)}


def may_be_root(event_type: str) -> bool:
    return event_type not in CAUSES


def causes_of(event_type: str) -> tuple[str, ...]:
    """The types that may have caused an event of this one; none for a root."""
    return CAUSES.get(event_type, ()) or SOMETIMES.get(event_type, ())
