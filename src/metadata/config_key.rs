//! One configuration key, its type and its domain, checked in Kafka's own words (`org.apache.kafka.common.config.ConfigDef`).
//!
//! Called by the tables [`topic_config`](super::topic_config) and `broker_config`.

/// A configuration key of Kafka.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: ConfigType,
    /// Its default as text; `None` where the default is null.
    pub default: Option<&'static str>,
    /// What it may be.
    pub domain: Domain,
    /// What it does, in a line.
    pub doc: &'static str,
}

/// A key's type. The numbers are those of DescribeConfigs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "Kafka's own names")]
pub enum ConfigType {
    Boolean = 1,
    String = 2,
    Int = 3,
    Short = 4,
    Long = 5,
    Double = 6,
    List = 7,
    Class = 8,
    Password = 9,
}

impl ConfigType {
    /// Kafka's name of the type.
    fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::String => "STRING",
            Self::Int => "INT",
            Self::Short => "SHORT",
            Self::Long => "LONG",
            Self::Double => "DOUBLE",
            Self::List => "LIST",
            Self::Class => "CLASS",
            Self::Password => "PASSWORD",
        }
    }

    /// The number of the type in DescribeConfigs.
    #[must_use]
    pub fn code(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Short => 4,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
            Self::Class => 8,
            Self::Password => 9,
        }
    }
}

/// What a key may be, beyond its type.
#[derive(Clone, Copy, Debug)]
pub enum Domain {
    /// Anything of the type.
    Any,
    /// A number not below.
    AtLeast(i64),
    /// A number within, both ends included.
    Between(i64, i64),
    /// A number within, or this one.
    BetweenOr(i64, i64, i64),
    /// A fraction from 0 to 1.
    Ratio,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A list of these words.
    ListOf(&'static [&'static str]),
}

/// Why a configuration is refused. The text is what the client reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No such topic key.
    #[error("Unknown topic config name: {0}")]
    UnknownTopicKey(String),
    /// Not of the type, or not in the domain.
    #[error("Invalid value {value} for configuration {name}: {reason}")]
    Invalid {
        /// The key.
        name: String,
        /// The value.
        value: String,
        /// Kafka's reason.
        reason: String,
    },
    /// Two keys that contradict each other.
    #[error("conflict topic config setting {low} ({low_value}) > {high} ({high_value})")]
    Conflict {
        /// The key that must not be larger.
        low: &'static str,
        /// Its value.
        low_value: i64,
        /// The key that must not be smaller.
        high: &'static str,
        /// Its value.
        high_value: i64,
    },
    /// A value whose effect does not exist here.
    #[error("Invalid value {value} for configuration {name}: {why}; possible here: {possible}")]
    NotBuilt {
        /// The key.
        name: &'static str,
        /// The value.
        value: String,
        /// Why it is not possible.
        why: &'static str,
        /// What is possible.
        possible: String,
    },
    /// A list's operation on a key that is none.
    #[error("{0}")]
    NotAList(String),
    /// A broker key that is set before the node starts, or never.
    #[error("Cannot update these configs dynamically: [{0}]")]
    NotDynamic(String),
    /// No value where one is needed.
    #[error("Null value not supported for topic configs: {0}")]
    Null(String),
}

/// A value that was checked.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Boolean(bool),
    Number(i64),
    Fraction(f64),
    Text(String),
    List(Vec<String>),
}

impl Value {
    pub(super) fn number(&self) -> i64 {
        match self {
            Self::Number(number) => *number,
            _ => unreachable!("asked of a numeric key"),
        }
    }
}

impl Key {
    fn invalid(&self, value: &str, reason: impl Into<String>) -> ConfigError {
        ConfigError::Invalid { name: self.name.to_owned(), value: value.to_owned(), reason: reason.into() }
    }

    /// Checks a value against the type and the domain.
    pub(super) fn check(&self, raw: &str) -> Result<Value, ConfigError> {
        let value = self.parse(raw)?;
        let refused = match (self.domain, &value) {
            (Domain::AtLeast(min), Value::Number(number)) if *number < min => Some(at_least(min)),
            (Domain::Between(min, _), Value::Number(number)) if *number < min => Some(at_least(min)),
            (Domain::Between(_, max), Value::Number(number)) if *number > max => {
                Some(format!("Value must be no more than {max}"))
            }
            (Domain::BetweenOr(min, max, or), Value::Number(number))
                if (*number < min || *number > max) && *number != or =>
            {
                Some(format!("Value must be between {min} and {max} or equal to {or}"))
            }
            (Domain::Ratio, Value::Fraction(fraction)) if *fraction > 1.0 => {
                Some("Value must be no more than 1".to_owned())
            }
            (Domain::Ratio, Value::Fraction(fraction)) if !fraction.is_finite() || *fraction < 0.0 => Some(at_least(0)),
            (Domain::OneOf(words), Value::Text(text)) if !words.contains(&text.as_str()) => {
                Some(format!("String must be one of: {}", words.join(", ")))
            }
            (Domain::ListOf(words), Value::List(items)) if !items.iter().all(|item| words.contains(&item.as_str())) => {
                Some(format!("String must be one of: {}", words.join(", ")))
            }
            _ => None,
        };
        refused.map_or(Ok(value), |reason| Err(self.invalid(raw, reason)))
    }

    fn parse(&self, raw: &str) -> Result<Value, ConfigError> {
        let trimmed = raw.trim();
        let not_a_number = || self.invalid(raw, format!("Not a number of type {}", self.kind.name()));
        match self.kind {
            ConfigType::Boolean if trimmed.eq_ignore_ascii_case("true") => Ok(Value::Boolean(true)),
            ConfigType::Boolean if trimmed.eq_ignore_ascii_case("false") => Ok(Value::Boolean(false)),
            ConfigType::Boolean => Err(self.invalid(raw, "Expected value to be either true or false")),
            ConfigType::Int | ConfigType::Short | ConfigType::Long => {
                let number: i64 = trimmed.parse().map_err(|_| not_a_number())?;
                let fits = match self.kind {
                    ConfigType::Int => i32::try_from(number).is_ok(),
                    ConfigType::Short => i16::try_from(number).is_ok(),
                    _ => true,
                };
                if fits { Ok(Value::Number(number)) } else { Err(not_a_number()) }
            }
            ConfigType::Double => trimmed.parse().map(Value::Fraction).map_err(|_| not_a_number()),
            ConfigType::List if trimmed.is_empty() => Ok(Value::List(Vec::new())),
            ConfigType::List => Ok(Value::List(trimmed.split(',').map(|item| item.trim().to_owned()).collect())),
            ConfigType::String | ConfigType::Class | ConfigType::Password => Ok(Value::Text(trimmed.to_owned())),
        }
    }
}

fn at_least(min: i64) -> String {
    format!("Value must be at least {min}")
}
