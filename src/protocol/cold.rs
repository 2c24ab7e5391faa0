//! Every API but Produce and Fetch, through the generated codec: owned values, decoded and encoded whole.
//!
//! Called by `handlers/`, and the other way round by the command line's client. The generated types are re-exported
//! here, and only here; `decode` and `encode` keep a request and its response to the API and version of the frame.

use bytes::{Bytes, BytesMut};
pub use kacrab_protocol::generated::{
    alter_client_quotas_request, alter_client_quotas_response, alter_configs_request, alter_configs_response,
    alter_partition_reassignments_request, alter_partition_reassignments_response, alter_replica_log_dirs_request,
    alter_replica_log_dirs_response, alter_user_scram_credentials_request, alter_user_scram_credentials_response,
    api_versions_request, api_versions_response, create_acls_request, create_acls_response, create_partitions_request,
    create_partitions_response, create_topics_request, create_topics_response, delete_acls_request,
    delete_acls_response, delete_groups_request, delete_groups_response, delete_records_request,
    delete_records_response, delete_topics_request, delete_topics_response, describe_acls_request,
    describe_acls_response, describe_client_quotas_request, describe_client_quotas_response, describe_cluster_request,
    describe_cluster_response, describe_configs_request, describe_configs_response, describe_groups_request,
    describe_groups_response, describe_log_dirs_request, describe_log_dirs_response, describe_producers_request,
    describe_producers_response, describe_topic_partitions_request, describe_topic_partitions_response,
    describe_user_scram_credentials_request, describe_user_scram_credentials_response, elect_leaders_request,
    elect_leaders_response, find_coordinator_request, find_coordinator_response, heartbeat_request, heartbeat_response,
    incremental_alter_configs_request, incremental_alter_configs_response, init_producer_id_request,
    init_producer_id_response, join_group_request, join_group_response, leave_group_request, leave_group_response,
    list_config_resources_request, list_config_resources_response, list_groups_request, list_groups_response,
    list_offsets_request, list_offsets_response, list_partition_reassignments_request,
    list_partition_reassignments_response, metadata_request, metadata_response, offset_commit_request,
    offset_commit_response, offset_delete_request, offset_delete_response, offset_fetch_request, offset_fetch_response,
    offset_for_leader_epoch_request, offset_for_leader_epoch_response, sync_group_request, sync_group_response,
};
pub use kacrab_protocol::{KafkaString, KafkaUuid};

use super::api_key::ApiKey;
use super::error::{DecodeError, EncodeError};
use super::frame::{Frame, RequestHeader};
use crate::types::TopicId;

/// A request of the generated codec.
pub trait Request: Sized {
    /// Its API.
    const API_KEY: ApiKey;
    /// What answers it.
    type Response: Response;
    #[doc(hidden)]
    fn read(bytes: &mut Bytes, version: i16) -> kacrab_protocol::Result<Self>;
    #[doc(hidden)]
    fn write(&self, into: &mut BytesMut, version: i16) -> kacrab_protocol::Result<()>;
}

/// A response of the generated codec.
pub trait Response: Sized {
    #[doc(hidden)]
    const API_KEY: ApiKey;
    #[doc(hidden)]
    fn read(bytes: &mut Bytes, version: i16) -> kacrab_protocol::Result<Self>;
    #[doc(hidden)]
    fn write(&self, into: &mut BytesMut, version: i16) -> kacrab_protocol::Result<()>;
}

/// Reads the body of `frame`. Bytes after the body are let be, as Kafka does. Panics if the frame is of another API.
pub fn decode<R: Request>(frame: &Frame) -> Result<R, DecodeError> {
    let RequestHeader { api_key, api_version, .. } = frame.header;
    assert_eq!(api_key, R::API_KEY, "a handler reads requests of its own API");
    R::read(&mut frame.body_bytes()?, api_version).map_err(|error| DecodeError::Malformed {
        api_key,
        api_version,
        reason: error.to_string(),
    })
}

/// The response frame, length field included, for a request with `header`.
pub fn encode<R: Response>(header: &RequestHeader, response: &R) -> Result<Bytes, EncodeError> {
    let RequestHeader { api_key, api_version, correlation_id } = *header;
    assert_eq!(api_key, R::API_KEY, "a handler answers requests of its own API");
    let failed = |reason: String| EncodeError { api_key, api_version, reason };
    let mut bytes = BytesMut::with_capacity(512);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&correlation_id.to_be_bytes());
    if api_key.has_flexible_response_header(api_version) {
        bytes.extend_from_slice(&[0]);
    }
    response.write(&mut bytes, api_version).map_err(|error| failed(error.to_string()))?;
    let length = i32::try_from(bytes.len() - 4).map_err(|error| failed(error.to_string()))?;
    if let Some(field) = bytes.first_chunk_mut() {
        *field = length.to_be_bytes();
    }
    Ok(bytes.freeze())
}

/// The request frame, length field included, that a client sends: at the highest version that is served here.
pub fn encode_request<R: Request>(correlation_id: i32, client_id: &str, request: &R) -> Result<Bytes, EncodeError> {
    encode_request_at(R::API_KEY.max_version(), correlation_id, client_id, request)
}

/// As [`encode_request`], in a version that both sides know.
pub fn encode_request_at<R: Request>(
    api_version: i16,
    correlation_id: i32,
    client_id: &str,
    request: &R,
) -> Result<Bytes, EncodeError> {
    let api_key = R::API_KEY;
    let failed = |reason: String| EncodeError { api_key, api_version, reason };
    let client_id_len = i16::try_from(client_id.len()).map_err(|error| failed(error.to_string()))?;
    let mut bytes = BytesMut::with_capacity(512);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&api_key.code().to_be_bytes());
    bytes.extend_from_slice(&api_version.to_be_bytes());
    bytes.extend_from_slice(&correlation_id.to_be_bytes());
    bytes.extend_from_slice(&client_id_len.to_be_bytes());
    bytes.extend_from_slice(client_id.as_bytes());
    if api_key.is_flexible(api_version) {
        bytes.extend_from_slice(&[0]);
    }
    request.write(&mut bytes, api_version).map_err(|error| failed(error.to_string()))?;
    let length = i32::try_from(bytes.len() - 4).map_err(|error| failed(error.to_string()))?;
    if let Some(field) = bytes.first_chunk_mut() {
        *field = length.to_be_bytes();
    }
    Ok(bytes.freeze())
}

/// The answer to a request of [`encode_request`], from a frame without its length field: correlation id and body.
pub fn decode_response<R: Request>(frame: Bytes) -> Result<(i32, R::Response), DecodeError> {
    decode_response_at::<R>(R::API_KEY.max_version(), frame)
}

/// As [`decode_response`], for a request of [`encode_request_at`].
pub fn decode_response_at<R: Request>(api_version: i16, mut frame: Bytes) -> Result<(i32, R::Response), DecodeError> {
    let api_key = R::API_KEY;
    let remaining = frame.len();
    let Some(correlation_id) = frame.first_chunk().map(|bytes| i32::from_be_bytes(*bytes)) else {
        return Err(DecodeError::Truncated { needed: 4, remaining });
    };
    // The header's tags, of which none is sent to a client like this one: their count alone, 0.
    let header_bytes = if api_key.has_flexible_response_header(api_version) { 5 } else { 4 };
    if remaining < header_bytes {
        return Err(DecodeError::Truncated { needed: header_bytes, remaining });
    }
    let mut body = frame.split_off(header_bytes);
    let response = R::Response::read(&mut body, api_version).map_err(|error| DecodeError::Malformed {
        api_key,
        api_version,
        reason: error.to_string(),
    })?;
    Ok((correlation_id, response))
}

/// A topic id as the codec has it.
#[must_use]
pub fn uuid(id: TopicId) -> KafkaUuid {
    let bits = u128::from_be_bytes(id.0);
    let low = u64::try_from(bits & u128::from(u64::MAX)).unwrap_or_default();
    KafkaUuid::from_parts(u64::try_from(bits >> 64).unwrap_or_default(), low)
}

/// The topic id that the codec read.
#[must_use]
pub fn topic_id(uuid: &KafkaUuid) -> TopicId {
    TopicId(*uuid.inner().as_bytes())
}

/// Ties the generated types of each API to it and to each other.
macro_rules! cold_apis {
    ($($api_key:ident: $request:ty => $response:ty;)*) => {$(
        impl Request for $request {
            const API_KEY: ApiKey = ApiKey::$api_key;
            type Response = $response;

            fn read(bytes: &mut Bytes, version: i16) -> kacrab_protocol::Result<Self> {
                Self::read(bytes, version)
            }

            fn write(&self, into: &mut BytesMut, version: i16) -> kacrab_protocol::Result<()> {
                Self::write(self, into, version)
            }
        }

        impl Response for $response {
            const API_KEY: ApiKey = ApiKey::$api_key;

            fn read(bytes: &mut Bytes, version: i16) -> kacrab_protocol::Result<Self> {
                Self::read(bytes, version)
            }

            fn write(&self, into: &mut BytesMut, version: i16) -> kacrab_protocol::Result<()> {
                Self::write(self, into, version)
            }
        }
    )*};
}

cold_apis! {
    ListOffsets: list_offsets_request::ListOffsetsRequestData => list_offsets_response::ListOffsetsResponseData;
    Metadata: metadata_request::MetadataRequestData => metadata_response::MetadataResponseData;
    ApiVersions: api_versions_request::ApiVersionsRequestData => api_versions_response::ApiVersionsResponseData;
    CreateTopics: create_topics_request::CreateTopicsRequestData => create_topics_response::CreateTopicsResponseData;
    DeleteTopics: delete_topics_request::DeleteTopicsRequestData => delete_topics_response::DeleteTopicsResponseData;
    InitProducerId:
        init_producer_id_request::InitProducerIdRequestData => init_producer_id_response::InitProducerIdResponseData;
    OffsetForLeaderEpoch:
        offset_for_leader_epoch_request::OffsetForLeaderEpochRequestData
            => offset_for_leader_epoch_response::OffsetForLeaderEpochResponseData;
    DescribeConfigs:
        describe_configs_request::DescribeConfigsRequestData => describe_configs_response::DescribeConfigsResponseData;
    CreatePartitions:
        create_partitions_request::CreatePartitionsRequestData
            => create_partitions_response::CreatePartitionsResponseData;
    DescribeCluster:
        describe_cluster_request::DescribeClusterRequestData => describe_cluster_response::DescribeClusterResponseData;
    OffsetCommit: offset_commit_request::OffsetCommitRequestData => offset_commit_response::OffsetCommitResponseData;
    OffsetFetch: offset_fetch_request::OffsetFetchRequestData => offset_fetch_response::OffsetFetchResponseData;
    FindCoordinator: find_coordinator_request::FindCoordinatorRequestData => find_coordinator_response::FindCoordinatorResponseData;
    JoinGroup: join_group_request::JoinGroupRequestData => join_group_response::JoinGroupResponseData;
    Heartbeat: heartbeat_request::HeartbeatRequestData => heartbeat_response::HeartbeatResponseData;
    LeaveGroup: leave_group_request::LeaveGroupRequestData => leave_group_response::LeaveGroupResponseData;
    SyncGroup: sync_group_request::SyncGroupRequestData => sync_group_response::SyncGroupResponseData;
    DescribeGroups: describe_groups_request::DescribeGroupsRequestData => describe_groups_response::DescribeGroupsResponseData;
    ListGroups: list_groups_request::ListGroupsRequestData => list_groups_response::ListGroupsResponseData;
    DeleteRecords: delete_records_request::DeleteRecordsRequestData => delete_records_response::DeleteRecordsResponseData;
    DescribeAcls: describe_acls_request::DescribeAclsRequestData => describe_acls_response::DescribeAclsResponseData;
    CreateAcls: create_acls_request::CreateAclsRequestData => create_acls_response::CreateAclsResponseData;
    DeleteAcls: delete_acls_request::DeleteAclsRequestData => delete_acls_response::DeleteAclsResponseData;
    AlterConfigs: alter_configs_request::AlterConfigsRequestData => alter_configs_response::AlterConfigsResponseData;
    AlterReplicaLogDirs: alter_replica_log_dirs_request::AlterReplicaLogDirsRequestData => alter_replica_log_dirs_response::AlterReplicaLogDirsResponseData;
    DescribeLogDirs: describe_log_dirs_request::DescribeLogDirsRequestData => describe_log_dirs_response::DescribeLogDirsResponseData;
    DeleteGroups: delete_groups_request::DeleteGroupsRequestData => delete_groups_response::DeleteGroupsResponseData;
    ElectLeaders: elect_leaders_request::ElectLeadersRequestData => elect_leaders_response::ElectLeadersResponseData;
    IncrementalAlterConfigs: incremental_alter_configs_request::IncrementalAlterConfigsRequestData => incremental_alter_configs_response::IncrementalAlterConfigsResponseData;
    AlterPartitionReassignments: alter_partition_reassignments_request::AlterPartitionReassignmentsRequestData => alter_partition_reassignments_response::AlterPartitionReassignmentsResponseData;
    ListPartitionReassignments: list_partition_reassignments_request::ListPartitionReassignmentsRequestData => list_partition_reassignments_response::ListPartitionReassignmentsResponseData;
    OffsetDelete: offset_delete_request::OffsetDeleteRequestData => offset_delete_response::OffsetDeleteResponseData;
    DescribeClientQuotas: describe_client_quotas_request::DescribeClientQuotasRequestData => describe_client_quotas_response::DescribeClientQuotasResponseData;
    AlterClientQuotas: alter_client_quotas_request::AlterClientQuotasRequestData => alter_client_quotas_response::AlterClientQuotasResponseData;
    DescribeUserScramCredentials: describe_user_scram_credentials_request::DescribeUserScramCredentialsRequestData => describe_user_scram_credentials_response::DescribeUserScramCredentialsResponseData;
    AlterUserScramCredentials: alter_user_scram_credentials_request::AlterUserScramCredentialsRequestData => alter_user_scram_credentials_response::AlterUserScramCredentialsResponseData;
    DescribeProducers: describe_producers_request::DescribeProducersRequestData => describe_producers_response::DescribeProducersResponseData;
    ListConfigResources: list_config_resources_request::ListConfigResourcesRequestData => list_config_resources_response::ListConfigResourcesResponseData;
    DescribeTopicPartitions: describe_topic_partitions_request::DescribeTopicPartitionsRequestData => describe_topic_partitions_response::DescribeTopicPartitionsResponseData;
}
