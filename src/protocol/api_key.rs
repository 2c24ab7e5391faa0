//! The APIs that are served, and in which versions. This table is what ApiVersions answers.
//!
//! The lowest version is Apache Kafka 4.3.1's for every key; the highest is what the node implements and its tests
//! cover. A key is shown only when it works: clients of one that is absent fail at once with a clear text.

/// An API that the codec knows; those in [`ApiKey::ALL`] are served. The number is the wire's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(i16)]
pub enum ApiKey {
    /// Appends record batches.
    Produce = 0,
    /// Reads record batches.
    Fetch = 1,
    /// Offsets by time.
    ListOffsets = 2,
    /// Brokers, topics and partitions.
    Metadata = 3,
    /// Commits a group's offsets.
    OffsetCommit = 8,
    /// The offsets that groups have committed.
    OffsetFetch = 9,
    /// The broker that coordinates a group.
    FindCoordinator = 10,
    /// Makes a member of a group.
    JoinGroup = 11,
    /// Keeps a member's session.
    Heartbeat = 12,
    /// Takes members out of a group.
    LeaveGroup = 13,
    /// Hands in or takes out the assignment of a generation.
    SyncGroup = 14,
    /// Members and state of groups.
    DescribeGroups = 15,
    /// All groups.
    ListGroups = 16,
    /// What this table says.
    ApiVersions = 18,
    /// Creates topics.
    CreateTopics = 19,
    /// Deletes topics.
    DeleteTopics = 20,
    /// Raises a partition's log start offset.
    DeleteRecords = 21,
    /// Gives an idempotent producer its id.
    InitProducerId = 22,
    /// The end offset of a leader epoch.
    OffsetForLeaderEpoch = 23,
    /// Access control lists.
    DescribeAcls = 29,
    /// Adds to them.
    CreateAcls = 30,
    /// Takes from them.
    DeleteAcls = 31,
    /// Configuration of topics and brokers.
    DescribeConfigs = 32,
    /// Sets all configuration of topics and brokers.
    AlterConfigs = 33,
    /// Moves replicas between log directories.
    AlterReplicaLogDirs = 34,
    /// Sizes of partitions and log directories.
    DescribeLogDirs = 35,
    /// Adds partitions to a topic.
    CreatePartitions = 37,
    /// Deletes empty groups.
    DeleteGroups = 42,
    /// Elects partition leaders.
    ElectLeaders = 43,
    /// Changes configuration of topics and brokers.
    IncrementalAlterConfigs = 44,
    /// Moves partitions between brokers.
    AlterPartitionReassignments = 45,
    /// Partitions that are being moved.
    ListPartitionReassignments = 46,
    /// Deletes a group's offsets of some partitions.
    OffsetDelete = 47,
    /// Quotas of clients.
    DescribeClientQuotas = 48,
    /// Changes them.
    AlterClientQuotas = 49,
    /// Users with SCRAM credentials.
    DescribeUserScramCredentials = 50,
    /// Changes them.
    AlterUserScramCredentials = 51,
    /// The cluster and its brokers.
    DescribeCluster = 60,
    /// Producers that a partition remembers.
    DescribeProducers = 61,
    /// Resources that have configuration.
    ListConfigResources = 74,
    /// Topics and partitions, page by page.
    DescribeTopicPartitions = 75,
}

/// What is known of one API.
struct Row {
    api_key: ApiKey,
    /// The lowest version shown.
    min: i16,
    /// The highest version served.
    max: i16,
    /// The first version with compact encodings and tagged fields.
    flexible: i16,
}

impl ApiKey {
    /// Every API served, in order of their numbers.
    pub const ALL: [Self; 41] = [
        Self::Produce,
        Self::Fetch,
        Self::ListOffsets,
        Self::Metadata,
        Self::OffsetCommit,
        Self::OffsetFetch,
        Self::FindCoordinator,
        Self::JoinGroup,
        Self::Heartbeat,
        Self::LeaveGroup,
        Self::SyncGroup,
        Self::DescribeGroups,
        Self::ListGroups,
        Self::ApiVersions,
        Self::CreateTopics,
        Self::DeleteTopics,
        Self::DeleteRecords,
        Self::InitProducerId,
        Self::OffsetForLeaderEpoch,
        Self::DescribeAcls,
        Self::CreateAcls,
        Self::DeleteAcls,
        Self::DescribeConfigs,
        Self::AlterConfigs,
        Self::AlterReplicaLogDirs,
        Self::DescribeLogDirs,
        Self::CreatePartitions,
        Self::DeleteGroups,
        Self::ElectLeaders,
        Self::IncrementalAlterConfigs,
        Self::AlterPartitionReassignments,
        Self::ListPartitionReassignments,
        Self::OffsetDelete,
        Self::DescribeClientQuotas,
        Self::AlterClientQuotas,
        Self::DescribeUserScramCredentials,
        Self::AlterUserScramCredentials,
        Self::DescribeCluster,
        Self::DescribeProducers,
        Self::ListConfigResources,
        Self::DescribeTopicPartitions,
    ];

    const fn row(self) -> Row {
        let (min, max, flexible) = match self {
            // Shown from 0 because librdkafka takes features from it (KAFKA-18659); served from 3.
            Self::Produce => (0, 9, 9),
            // By topic ids at its top: @platformatic/kafka takes no version with names.
            Self::Fetch => (4, 13, 12),
            Self::ListOffsets => (1, 11, 6),
            Self::Metadata => (0, 12, 9),
            Self::ApiVersions => (0, 4, 3),
            Self::CreateTopics => (2, 7, 5),
            Self::DeleteTopics => (1, 6, 4),
            Self::InitProducerId => (0, 4, 2),
            Self::OffsetForLeaderEpoch => (2, 4, 4),
            Self::DescribeConfigs => (1, 4, 4),
            Self::CreatePartitions => (0, 3, 2),
            Self::DescribeCluster => (0, 2, 0),
            Self::OffsetCommit => (2, 9, 8),
            Self::OffsetFetch => (1, 9, 6),
            Self::FindCoordinator => (0, 6, 3),
            Self::JoinGroup => (0, 9, 6),
            Self::Heartbeat => (0, 4, 4),
            Self::LeaveGroup => (0, 5, 4),
            Self::SyncGroup => (0, 5, 4),
            Self::DescribeGroups => (0, 6, 5),
            Self::ListGroups => (0, 5, 3),
            Self::DeleteRecords => (0, 2, 2),
            Self::DescribeAcls => (1, 3, 2),
            Self::CreateAcls => (1, 3, 2),
            Self::DeleteAcls => (1, 3, 2),
            Self::AlterConfigs => (0, 2, 2),
            Self::AlterReplicaLogDirs => (1, 2, 2),
            Self::DescribeLogDirs => (1, 4, 2),
            Self::DeleteGroups => (0, 2, 2),
            Self::ElectLeaders => (0, 2, 2),
            Self::IncrementalAlterConfigs => (0, 1, 1),
            Self::AlterPartitionReassignments => (0, 1, 0),
            Self::ListPartitionReassignments => (0, 0, 0),
            Self::OffsetDelete => (0, 0, 1),
            Self::DescribeClientQuotas => (0, 1, 1),
            Self::AlterClientQuotas => (0, 1, 1),
            Self::DescribeUserScramCredentials => (0, 0, 0),
            Self::AlterUserScramCredentials => (0, 0, 0),
            Self::DescribeProducers => (0, 0, 0),
            Self::ListConfigResources => (0, 1, 0),
            Self::DescribeTopicPartitions => (0, 0, 0),
        };
        Row { api_key: self, min, max, flexible }
    }

    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The API with this number, if it is served.
    #[must_use]
    pub fn from_code(code: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|api_key| api_key.code() == code)
    }

    /// The lowest version that ApiVersions shows.
    #[must_use]
    pub const fn min_version(self) -> i16 {
        self.row().min
    }

    /// The highest version, shown and served.
    #[must_use]
    pub const fn max_version(self) -> i16 {
        self.row().max
    }

    /// Whether a request of this version is served.
    #[must_use]
    pub fn serves(self, version: i16) -> bool {
        let row = self.row();
        let min = if row.api_key == Self::Produce { PRODUCE_SERVED_FROM } else { row.min };
        (min..=row.max).contains(&version)
    }

    /// Whether this version has compact encodings, tagged fields and request header v2.
    #[must_use]
    pub const fn is_flexible(self, version: i16) -> bool {
        version >= self.row().flexible
    }

    /// Whether the *response* header of this version has tagged fields: never in ApiVersions, whose client cannot know
    /// yet (KIP-511).
    #[must_use]
    pub const fn has_flexible_response_header(self, version: i16) -> bool {
        !matches!(self, Self::ApiVersions) && self.is_flexible(version)
    }
}

/// The first Produce version with record format 2.
const PRODUCE_SERVED_FROM: i16 = 3;

#[cfg(test)]
mod tests {
    use kacrab_protocol::version::{request_header_version, response_header_version};

    use super::ApiKey;

    #[test]
    fn header_versions_are_kafkas() {
        for api_key in ApiKey::ALL {
            assert_eq!(ApiKey::from_code(api_key.code()), Some(api_key));
            for version in (0..=api_key.max_version()).filter(|version| api_key.serves(*version)) {
                let (code, flexible) = (api_key.code(), api_key.is_flexible(version));
                assert_eq!(request_header_version(code, version) == 2, flexible, "{api_key:?} {version}");
                let flexible = api_key.has_flexible_response_header(version);
                assert_eq!(response_header_version(code, version) == 1, flexible, "{api_key:?} {version}");
            }
        }
    }

    #[test]
    fn transactions_are_not_shown_before_they_exist() {
        for code in (4..8).chain(24..=28).chain([65, 66]).chain(71..=73).chain(76..=92) {
            assert_eq!(ApiKey::from_code(code), None, "{code}");
        }
        assert!(ApiKey::Produce.min_version() == 0 && !ApiKey::Produce.serves(2) && ApiKey::Produce.serves(3));
    }
}
