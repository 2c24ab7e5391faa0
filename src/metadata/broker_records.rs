//! The records about brokers: a registration, and what changes of it.
//!
//! Part of [`records`](super::records), which frames them; the same rules hold.

use super::records::RecordError;
use super::wire::{Reader, Tagged, Writer};

/// `RegisterBrokerRecord`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "Kafka's own field names")]
pub struct RegisterBrokerRecord {
    pub broker_id: i32,
    pub is_migrating_zk_broker: bool,
    pub incarnation_id: [u8; 16],
    pub broker_epoch: i64,
    pub end_points: Vec<BrokerEndpoint>,
    pub features: Vec<BrokerFeature>,
    pub rack: Option<String>,
    pub fenced: bool,
    pub in_controlled_shutdown: bool,
    pub log_dirs: Vec<[u8; 16]>,
    pub cordoned_log_dirs: Option<Vec<[u8; 16]>>,
}

/// One listener of a broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "Kafka's own field names")]
pub struct BrokerEndpoint {
    pub name: String,
    pub host: String,
    pub port: u16,
    pub security_protocol: i16,
}

/// The range of one feature that a broker supports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "Kafka's own field names")]
pub struct BrokerFeature {
    pub name: String,
    pub min_supported_version: i16,
    pub max_supported_version: i16,
}

/// `BrokerRegistrationChangeRecord`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "Kafka's own field names")]
pub struct BrokerRegistrationChangeRecord {
    pub broker_id: i32,
    pub broker_epoch: i64,
    /// -1: unfenced, 0: no change, 1: fenced.
    pub fenced: i8,
    /// 0: no change, 1: in controlled shutdown.
    pub in_controlled_shutdown: i8,
    pub log_dirs: Vec<[u8; 16]>,
    pub cordoned_log_dirs: Option<Vec<[u8; 16]>>,
}

impl RegisterBrokerRecord {
    pub(super) fn write(&self, writer: &mut Writer, tagged: &mut Tagged) {
        writer.i32(self.broker_id);
        writer.bool(self.is_migrating_zk_broker);
        writer.bytes(&self.incarnation_id);
        writer.i64(self.broker_epoch);
        writer.array_of(&self.end_points, |writer, end_point| {
            writer.string(&end_point.name);
            writer.string(&end_point.host);
            writer.u16(end_point.port);
            writer.i16(end_point.security_protocol);
            writer.tagged(&Tagged::default());
        });
        writer.array_of(&self.features, |writer, feature| {
            writer.string(&feature.name);
            writer.i16(feature.min_supported_version);
            writer.i16(feature.max_supported_version);
            writer.tagged(&Tagged::default());
        });
        writer.nullable_string(self.rack.as_deref());
        writer.bool(self.fenced);
        writer.bool(self.in_controlled_shutdown);
        if !self.log_dirs.is_empty() {
            tagged.put(0, |writer| writer.uuids(&self.log_dirs));
        }
        tagged.put_some(1, self.cordoned_log_dirs.as_ref(), |writer, uuids| writer.uuids(uuids));
    }

    pub(super) fn read(reader: &mut Reader<'_>, version: u32) -> Result<Self, RecordError> {
        let mut record = Self {
            broker_id: reader.i32()?,
            is_migrating_zk_broker: version >= 2 && reader.bool()?,
            incarnation_id: reader.uuid()?,
            broker_epoch: reader.i64()?,
            end_points: reader.array_of(7, BrokerEndpoint::read)?,
            features: reader.array_of(6, BrokerFeature::read)?,
            rack: reader.nullable_string()?,
            fenced: reader.bool()?,
            in_controlled_shutdown: version >= 1 && reader.bool()?,
            ..Self::default()
        };
        reader.tagged(|tag, reader| {
            match tag {
                0 => record.log_dirs = reader.uuids()?,
                1 => record.cordoned_log_dirs = reader.nullable_uuids()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(record)
    }
}

impl BrokerEndpoint {
    fn read(reader: &mut Reader<'_>) -> Result<Self, RecordError> {
        let end_point = Self {
            name: reader.string()?,
            host: reader.string()?,
            port: reader.u16()?,
            security_protocol: reader.i16()?,
        };
        reader.tagged(|_, _| Ok(()))?;
        Ok(end_point)
    }
}

impl BrokerFeature {
    fn read(reader: &mut Reader<'_>) -> Result<Self, RecordError> {
        let feature =
            Self { name: reader.string()?, min_supported_version: reader.i16()?, max_supported_version: reader.i16()? };
        reader.tagged(|_, _| Ok(()))?;
        Ok(feature)
    }
}

impl BrokerRegistrationChangeRecord {
    pub(super) fn write(&self, writer: &mut Writer, tagged: &mut Tagged) {
        writer.i32(self.broker_id);
        writer.i64(self.broker_epoch);
        if self.fenced != 0 {
            tagged.put(0, |writer| writer.i8(self.fenced));
        }
        if self.in_controlled_shutdown != 0 {
            tagged.put(1, |writer| writer.i8(self.in_controlled_shutdown));
        }
        if !self.log_dirs.is_empty() {
            tagged.put(2, |writer| writer.uuids(&self.log_dirs));
        }
        tagged.put_some(3, self.cordoned_log_dirs.as_ref(), |writer, uuids| writer.uuids(uuids));
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, RecordError> {
        let mut record = Self { broker_id: reader.i32()?, broker_epoch: reader.i64()?, ..Self::default() };
        reader.tagged(|tag, reader| {
            match tag {
                0 => record.fenced = reader.i8()?,
                1 => record.in_controlled_shutdown = reader.i8()?,
                2 => record.log_dirs = reader.uuids()?,
                3 => record.cordoned_log_dirs = reader.nullable_uuids()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(record)
    }
}
