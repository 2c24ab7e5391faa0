//! What members of a group say to each other through the coordinator, and the range assignor.
//!
//! ```text
//!   subscription   version i16 | [ topic string ] | user data nullable bytes | ...
//!   assignment     version i16 | [ topic string, [ partition i32 ] ] | user data nullable bytes
//! ```
//! Both are Kafka's consumer protocol in version 0, which every version later begins with; what follows is passed over.

use std::collections::BTreeMap;

/// Topics and partitions of a member.
pub(crate) type Partitions = BTreeMap<String, Vec<i32>>;

/// A member as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subscriber {
    pub(super) member_id: String,
    pub(super) instance_id: Option<String>,
    pub(super) topics: Vec<String>,
}

/// The subscription of a member to one topic.
pub(super) fn subscription(topic: &str) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    count(&mut bytes, 1);
    string(&mut bytes, topic);
    bytes.extend((-1_i32).to_be_bytes());
    bytes
}

/// The topics of a subscription; `None` where it is not one.
pub(super) fn subscribed(mut bytes: &[u8]) -> Option<Vec<String>> {
    let rest = &mut bytes;
    i16(rest)?;
    (0..i32(rest)?).map(|_| text(rest)).collect()
}

/// An assignment as a member reads it.
pub(super) fn assignment(partitions: &Partitions) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    count(&mut bytes, partitions.len());
    for (topic, numbers) in partitions {
        string(&mut bytes, topic);
        count(&mut bytes, numbers.len());
        for number in numbers {
            bytes.extend(number.to_be_bytes());
        }
    }
    bytes.extend((-1_i32).to_be_bytes());
    bytes
}

/// The partitions of an assignment; `None` where it is not one. An empty one assigns nothing.
pub(crate) fn assigned(mut bytes: &[u8]) -> Option<Partitions> {
    let rest = &mut bytes;
    if rest.is_empty() {
        return Some(Partitions::new());
    }
    i16(rest)?;
    let mut partitions = Partitions::new();
    for _ in 0..i32(rest)? {
        let topic = text(rest)?;
        let numbers = (0..i32(rest)?).map(|_| i32(rest)).collect::<Option<Vec<_>>>()?;
        partitions.insert(topic, numbers);
    }
    Some(partitions)
}

/// `RangeAssignor` of Kafka: of each topic, consecutive partitions to its subscribers in order of their ids; the first
/// ones get one more where the count does not divide. Static members come first.
pub(super) fn range(subscribers: &[Subscriber], partition_counts: &BTreeMap<String, Vec<i32>>) -> Vec<Partitions> {
    let mut assigned = vec![Partitions::new(); subscribers.len()];
    for (topic, numbers) in partition_counts {
        let mut members: Vec<usize> =
            (0..subscribers.len()).filter(|index| subscribers[*index].topics.contains(topic)).collect();
        members.sort_by_key(|index| {
            let Subscriber { member_id, instance_id, .. } = &subscribers[*index];
            (instance_id.is_none(), instance_id.as_ref().unwrap_or(member_id))
        });
        if members.is_empty() {
            continue;
        }
        let (each, more) = (numbers.len() / members.len(), numbers.len() % members.len());
        let mut rest = numbers.as_slice();
        for (at, index) in members.into_iter().enumerate() {
            let (own, after) = rest.split_at(each + usize::from(at < more));
            rest = after;
            if !own.is_empty() {
                assigned[index].insert(topic.clone(), own.to_vec());
            }
        }
    }
    assigned
}

fn count(bytes: &mut Vec<u8>, count: usize) {
    bytes.extend(i32::try_from(count).expect("far below 2^31").to_be_bytes());
}

fn string(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend(i16::try_from(text.len()).expect("a topic's name has at most 249 bytes").to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

fn array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

fn i16(rest: &mut &[u8]) -> Option<i16> {
    array(rest).map(i16::from_be_bytes)
}

fn i32(rest: &mut &[u8]) -> Option<i32> {
    array(rest).map(i32::from_be_bytes)
}

fn text(rest: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(i16(rest)?).ok()?;
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    String::from_utf8(taken.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Partitions, Subscriber, assigned, assignment, range, subscribed, subscription};

    fn subscriber(member_id: &str, instance_id: Option<&str>, topics: &[&str]) -> Subscriber {
        let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        Subscriber { member_id: member_id.to_owned(), instance_id: instance_id.map(str::to_owned), topics }
    }

    #[test]
    fn bytes_are_kafkas() {
        assert_eq!(subscription("ab"), [&[0, 0, 0, 0, 0, 1, 0, 2][..], b"ab", &[255; 4]].concat());
        assert_eq!(subscribed(&subscription("ab")), Some(vec!["ab".to_owned()]));
        let partitions = Partitions::from([("t".to_owned(), vec![3, 1])]);
        let bytes = assignment(&partitions);
        let (topic, numbers) = ([0, 1, b't'], [0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 1]);
        assert_eq!(bytes, [&[0, 0, 0, 0, 0, 1][..], &topic, &numbers, &[255; 4]].concat());
        assert_eq!(assigned(&bytes), Some(partitions));
        assert_eq!(assigned(b""), Some(Partitions::new()));
        for cut in 1..bytes.len() - 4 {
            assert_eq!(assigned(&bytes[..cut]), None, "{cut}");
        }
        assert_eq!(subscribed(&[0, 0, 0x7f, 0xff, 0xff, 0xff]), None, "a hostile count");
    }

    #[test]
    fn ranges_are_kafkas() {
        let members = [
            subscriber("c", None, &["five"]),
            subscriber("a", None, &["five", "one"]),
            subscriber("z", Some("static"), &["five"]),
        ];
        let counts = BTreeMap::from([("five".to_owned(), vec![0, 1, 2, 3, 4]), ("one".to_owned(), vec![0])]);
        let found = range(&members, &counts);
        assert_eq!(found[2], Partitions::from([("five".to_owned(), vec![0, 1])]));
        assert_eq!(found[1], Partitions::from([("five".to_owned(), vec![2, 3]), ("one".to_owned(), vec![0])]));
        assert_eq!(found[0], Partitions::from([("five".to_owned(), vec![4])]));
        let more = [subscriber("a", None, &["one"]), subscriber("b", None, &["one"])];
        let found = range(&more, &counts);
        assert!(found[1].is_empty() && !found[0].is_empty(), "one partition, two members: one is idle");
    }
}
