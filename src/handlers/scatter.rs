//! Questions of one request to the shards that know: one call for each shard, answers in request order.

use super::Handlers;
use super::error;
use crate::io::Env;
use crate::protocol::ErrorCode;
use crate::shard::{self, Answer, Call};
use crate::types::ShardId;

/// A question and the shard that knows, or why nobody is asked.
pub(super) type Asked<Q> = Result<(ShardId, Q), ErrorCode>;

/// What a shard answers, in the order of the questions.
type Found<A> = Vec<Result<A, shard::Error>>;

/// How a kind of question goes to another shard and comes back.
pub(super) struct Courier<E: Env, Q, A> {
    pub(super) call: fn(Vec<Q>) -> Call<E>,
    pub(super) answers: fn(Answer<E>) -> Option<Found<A>>,
}

impl<E: Env> Handlers<E> {
    /// Asks every shard what concerns it, `here` for this one. Answers stand where their questions stood.
    pub(super) async fn scatter<Q: Copy, A>(
        &self,
        asked: &[Asked<Q>],
        courier: Courier<E, Q, A>,
        here: impl AsyncFnOnce(Vec<Q>) -> Found<A>,
    ) -> Vec<Result<A, ErrorCode>> {
        let groups = by_shard(asked);
        let (home, router) = (self.shard.rt().shard(), self.shard.router());
        let mut calls = Vec::new();
        for (shard, slots) in groups.iter().filter(|(shard, _)| *shard != home) {
            router.wait_for_room(*shard).await;
            calls.push((slots, router.call(*shard, (courier.call)(questions(asked, slots)))));
        }
        let refused = |asked: &Asked<Q>| Err(asked.as_ref().err().copied().unwrap_or(ErrorCode::NotLeaderOrFollower));
        let mut answers: Vec<Result<A, ErrorCode>> = asked.iter().map(refused).collect();
        if let Some((_, slots)) = groups.iter().find(|(shard, _)| *shard == home) {
            place(&mut answers, slots, here(questions(asked, slots)).await);
        }
        for (slots, call) in calls {
            place(&mut answers, slots, call.await.and_then(courier.answers).unwrap_or_default());
        }
        answers
    }
}

/// Slots of questions by the shard that knows.
fn by_shard<Q>(asked: &[Asked<Q>]) -> Vec<(ShardId, Vec<usize>)> {
    let mut groups: Vec<(ShardId, Vec<usize>)> = Vec::new();
    for (slot, asked) in asked.iter().enumerate() {
        let Ok((shard, _)) = asked else { continue };
        match groups.iter_mut().find(|(of, _)| of == shard) {
            Some((_, slots)) => slots.push(slot),
            None => groups.push((*shard, vec![slot])),
        }
    }
    groups
}

fn questions<Q: Copy>(asked: &[Asked<Q>], slots: &[usize]) -> Vec<Q> {
    slots.iter().filter_map(|slot| asked[*slot].as_ref().ok().map(|(_, question)| *question)).collect()
}

fn place<A>(answers: &mut [Result<A, ErrorCode>], slots: &[usize], found: Found<A>) {
    for (slot, found) in slots.iter().zip(found) {
        answers[*slot] = found.map_err(|refused| error::code(&refused));
    }
}
