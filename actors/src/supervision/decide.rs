//! The one decision: a failure, a history and a strategy give a directive. No clock, no waiting, no side effects.

use std::time::{Duration, Instant};

use shardmill_connectors::failure::Failure;

use super::backoff::{Chance, delay};
use super::history::History;
use super::strategy::{Answer, Strategy};

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Directive {
    /// The same child, the same unit, after the delay.
    Resume(Duration),
    /// A fresh child, the same unit, after the delay.
    Restart(Duration),
    /// The unit becomes a dead letter.
    DeadLetter,
    /// Hold; probe after the delay.
    Pause(Duration),
    /// End quietly.
    Stop,
    /// Fail upward.
    Escalate,
}

/// Decides about `failure`, noting it in `history`. `now` and `chance` are handed in.
pub fn decide(
    failure: &Failure,
    history: &mut History,
    strategy: &Strategy,
    now: Instant,
    chance: Chance<'_>,
) -> Directive {
    history.failed(now);
    let rule = strategy.rule(failure.class);
    let spent = rule.attempts.is_some_and(|attempts| history.failures() >= attempts)
        || rule.max_age.is_some_and(|age| history.age(now) >= age);
    let mut answer = if spent { rule.exhausted } else { rule.answer };
    if answer == Answer::Restart
        && history.restarted(now, strategy.intensity.period) > strategy.intensity.restarts
    {
        answer = strategy.intensity.exceeded;
    }
    let wait = delay(&strategy.backoff, history.failures(), failure.retry_after, chance);
    match answer {
        Answer::Resume => Directive::Resume(wait),
        Answer::Restart => Directive::Restart(wait),
        Answer::DeadLetter => Directive::DeadLetter,
        Answer::Pause => {
            Directive::Pause(strategy.backoff.probe.max(failure.retry_after.unwrap_or_default()))
        }
        Answer::Stop => Directive::Stop,
        Answer::Escalate => Directive::Escalate,
    }
}

#[cfg(test)]
mod tests {
    use shardmill_connectors::failure::Class;

    use super::super::strategy::{Backoff, Intensity, Rule, Scope};
    use super::*;

    const STRATEGY: Strategy = Strategy {
        transient: Rule {
            answer: Answer::Resume,
            attempts: Some(4),
            max_age: Some(Duration::from_secs(60)),
            exhausted: Answer::DeadLetter,
        },
        throttled: Rule::always(Answer::Resume),
        rejected: Rule::always(Answer::DeadLetter),
        unauthorized: Rule::always(Answer::Pause),
        fenced: Rule::always(Answer::Stop),
        crashed: Rule::always(Answer::Restart),
        backoff: Backoff {
            base: Duration::from_secs(1),
            max: Duration::from_secs(8),
            probe: Duration::from_secs(30),
        },
        intensity: Intensity { restarts: 2, period: Duration::from_secs(10), exceeded: Answer::Escalate },
        scope: Scope::One,
        limit: None,
    };

    /// A step of a script: seconds since the start, the class (or `None`: a success), the directive expected.
    type Step = (u64, Option<Class>, Option<Directive>);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn play(script: &[Step]) {
        let (start, mut history) = (Instant::now(), History::default());
        for (index, (at, class, expected)) in script.iter().enumerate() {
            let Some(class) = class else {
                history.succeeded();
                continue;
            };
            let failure = Failure::new(*class, "scripted");
            let directive = decide(&failure, &mut history, &STRATEGY, start + seconds(*at), &mut || 1.0);
            assert_eq!(Some(directive), *expected, "step {index}");
        }
    }

    #[test]
    fn every_class_has_its_answer() {
        play(&[(0, Some(Class::Rejected), Some(Directive::DeadLetter))]);
        play(&[(0, Some(Class::Unauthorized), Some(Directive::Pause(seconds(30))))]);
        play(&[(0, Some(Class::Fenced), Some(Directive::Stop))]);
    }

    #[test]
    fn attempts_run_out_and_a_success_starts_over() {
        let resume = |wait| Some(Directive::Resume(seconds(wait)));
        play(&[
            (0, Some(Class::Transient), resume(1)),
            (1, Some(Class::Transient), resume(2)),
            (3, None, None),
            (4, Some(Class::Transient), resume(1)),
            (5, Some(Class::Transient), resume(2)),
            (7, Some(Class::Transient), resume(4)),
            (11, Some(Class::Transient), Some(Directive::DeadLetter)),
        ]);
    }

    #[test]
    fn age_runs_out_before_attempts() {
        play(&[
            (0, Some(Class::Transient), Some(Directive::Resume(seconds(1)))),
            (60, Some(Class::Transient), Some(Directive::DeadLetter)),
        ]);
    }

    #[test]
    fn too_many_restarts_in_the_period_escalate_and_later_ones_do_not() {
        let restart = |wait| Some(Directive::Restart(seconds(wait)));
        play(&[
            (0, Some(Class::Crashed), restart(1)),
            (1, Some(Class::Crashed), restart(2)),
            (2, Some(Class::Crashed), Some(Directive::Escalate)),
        ]);
        play(&[
            (0, Some(Class::Crashed), restart(1)),
            (20, Some(Class::Crashed), restart(2)),
            (40, Some(Class::Crashed), restart(4)),
        ]);
    }

    #[test]
    fn throttling_waits_as_long_as_it_was_told() {
        let failure = Failure::throttled("429", Some(seconds(90)));
        let directive = decide(&failure, &mut History::default(), &STRATEGY, Instant::now(), &mut || 0.0);
        assert_eq!(directive, Directive::Resume(seconds(90)));
    }
}
