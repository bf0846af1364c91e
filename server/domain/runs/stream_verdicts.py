"""The rules of `server.domain.runs.verdict` that differ between the two kinds of streams. Pure."""

from __future__ import annotations

from server.domain.runs.actions import Action, AskState, KeepListening
from server.domain.runs.limits import RunLimits
from server.domain.runs.verdict import VerdictRules


def verdict_rules_for(limits: RunLimits, *, push_only: bool, from_first_frame: bool) -> VerdictRules:
    """The rules for a runtime (`Runtime.push_only`), as in `VerdictRules`."""
    kind = ChannelVerdictRules if push_only else SocketVerdictRules
    return kind(limits, from_first_frame=from_first_frame)


class SocketVerdictRules(VerdictRules):
    """Frames from a WebSocket: after a loss, the state is asked between connections."""

    def _weigh_loss(self, now: float) -> Action:
        return self._ask(now, self._reconnect(now))

    def _read_again(self, question: AskState, now: float) -> Action:
        # An open stream that is silent although the run is over has lost its way; another one begins again.
        return self._reconnect(now) if isinstance(question.undecided, KeepListening) else question.undecided

    def _may_have_missed_frames(self) -> bool:
        return True


class ChannelVerdictRules(VerdictRules):
    """Frames from a channel without history: leaving it misses frames, so the state is asked while
    listening."""

    def connecting(self, now: float) -> None:
        """As in the base. What was missed may be the end: then the state is asked at once."""
        super().connecting(now)
        if self._may_have_missed_frames():
            self._heard_at -= self._limits.idle_s

    def _weigh_loss(self, now: float) -> Action:
        return self._reconnect(now)

    def _read_again(self, question: AskState, now: float) -> Action:
        return question.undecided

    def _may_have_missed_frames(self) -> bool:
        return not self.from_first_frame
