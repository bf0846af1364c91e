"""The rules of `server.domain.runs.verdict` that differ between the two kinds of streams. Pure."""

from __future__ import annotations

from server.domain.runs.actions import Action, AskState, JournalFacts, KeepListening
from server.domain.runs.limits import RunLimits
from server.domain.runs.runtime import RuntimeState
from server.domain.runs.verdict import VerdictRules


def verdict_rules_for(limits: RunLimits, *, push_only: bool, from_first_frame: bool) -> VerdictRules:
    """The rules for a runtime (`Runtime.push_only`), as in `VerdictRules`."""
    kind = ChannelVerdictRules if push_only else SocketVerdictRules
    return kind(limits, from_first_frame=from_first_frame)


class SocketVerdictRules(VerdictRules):
    """Frames from a WebSocket: after a loss, the state is asked between connections."""

    def _weigh_loss(self, now: float) -> Action:
        return self._ask(now, self._reconnect(now))

    def _is_read_again(self, question: AskState, answer: RuntimeState, facts: JournalFacts) -> bool:
        if super()._is_read_again(question, answer, facts):
            return True
        # The agent may have asked a person in frames that were lost with the connection, and `completed` does
        # not say so. A poll summary is the stream's last word, and a healthy stream may still bring its own.
        broke = not question.delta and not isinstance(question.undecided, KeepListening)
        return broke and answer.status == "completed" and bool(answer.files) and not facts.awaiting_input

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
