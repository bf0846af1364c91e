"""The rules of `server.domain.runs.verdict` that differ between the two kinds of streams. Pure."""

from __future__ import annotations

from server.domain.journal.events import Outcome
from server.domain.model import FailureReason
from server.domain.runs.actions import Action, AskState, JournalFacts, KeepListening, LeaveConnection, Verdict
from server.domain.runs.limits import RunLimits
from server.domain.runs.verdict import VerdictRules, failed


def verdict_rules_for(limits: RunLimits, *, push_only: bool, from_first_frame: bool) -> VerdictRules:
    """The rules for a runtime (`Runtime.push_only`), as in `VerdictRules`."""
    kind = ChannelVerdictRules if push_only else SocketVerdictRules
    return kind(limits, from_first_frame=from_first_frame)


class SocketVerdictRules(VerdictRules):
    """Frames from a WebSocket: silence is as good as a break, and the state is asked between connections."""

    def _weigh_idle(self, now: float, *, caught_up: bool) -> Action:
        self._was_idle = caught_up
        return LeaveConnection(f"the runtime was silent for {self._limits.idle_s:.0f} s")

    def _weigh_loss(self, now: float) -> Action:
        return self._ask(now, self._reconnect())

    def _weigh_empty_result(
        self, question: AskState, now: float, facts: JournalFacts, *, gap: bool
    ) -> Action:
        if now < question.grace_ends_at:
            # After a poll summary there are no frames to wait for meanwhile.
            return self._ask_again(question, now) if question.delta else question.undecided
        if facts.has_files:
            return Verdict(Outcome.COMPLETED, delta=question.delta, gap=gap)
        message = "the runtime says that the run completed, but shows no file"
        return failed(FailureReason.EMPTY_RESULT, message, delta=question.delta, gap=gap)

    def _without_last_files(self, completed: Verdict, facts: JournalFacts) -> Verdict:
        return completed

    def _may_have_missed_frames(self) -> bool:
        return True


class ChannelVerdictRules(VerdictRules):
    """Frames from a channel without history. The `end` of every success is sent, so silence is never a
    success; leaving the channel misses frames, so the state is asked while listening."""

    def connecting(self, now: float) -> None:
        """As in the base. What was missed may be the end: then the state is asked at once."""
        super().connecting(now)
        if self._may_have_missed_frames():
            self._heard_at -= self._limits.idle_s

    def _weigh_idle(self, now: float, *, caught_up: bool) -> Action:
        self._was_idle = True
        return self._ask(now, KeepListening())

    def _weigh_loss(self, now: float) -> Action:
        return self._reconnect()

    def _weigh_empty_result(
        self, question: AskState, now: float, facts: JournalFacts, *, gap: bool
    ) -> Action:
        if self._quiet_since is None or now - self._quiet_since < self._limits.silent_s:
            return question.undecided
        quiet_s = now - self._quiet_since
        if self._may_have_missed_frames():
            message = f"frames were lost, and the runtime sent nothing more for {quiet_s:.0f} s"
            return failed(FailureReason.UPSTREAM_LOST, message, gap=True)
        message = f"the runtime sent no end and nothing else for {quiet_s:.0f} s"
        return failed(FailureReason.UPSTREAM_SILENT, message)

    def _without_last_files(self, completed: Verdict, facts: JournalFacts) -> Verdict:
        if facts.state_shown:
            return completed
        message = "the run ended, but frames were lost, and with them perhaps its last files"
        return failed(FailureReason.UPSTREAM_LOST, message)

    def _may_have_missed_frames(self) -> bool:
        return not self.from_first_frame
