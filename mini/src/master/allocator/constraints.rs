//! Offer constraints: which agents a role of a framework wants to be offered.
//!
//! Compiled when a framework subscribes, so that a run only evaluates. (Mesos
//! 1.11, src/master/allocator/mesos/offer_constraints_filter.cpp.)

use std::collections::BTreeMap;

use marmoset_proto::mesos::v1::{
    AgentInfo, Attribute,
    scheduler::{
        AttributeConstraint, OfferConstraints,
        attribute_constraint::{predicate, selector, selector::PseudoattributeType},
        offer_constraints::RoleConstraints,
    },
    value,
};
use regex::Regex;

/// Upper bound of a compiled expression, in bytes.
const REGEX_SIZE: usize = 64 << 10;

/// Constraints of all roles of a framework.
#[derive(Debug, Clone, Default)]
pub(crate) struct Constraints {
    roles: BTreeMap<String, Vec<Vec<Constraint>>>,
}

#[derive(Debug, Clone)]
struct Constraint {
    subject: Subject,
    test: Test,
}

#[derive(Debug, Clone)]
enum Subject {
    Attribute(String),
    Hostname,
    Region,
    Zone,
}

#[derive(Debug, Clone)]
enum Test {
    Exists,
    NotExists,
    Equals(String),
    NotEquals(String),
    Matches(Regex),
    NotMatches(Regex),
}

/// What an agent has under a name.
enum Found<'a> {
    Missing,
    Text(&'a str),
    NoText,
}

impl Constraints {
    /// Checks and compiles what a framework sent.
    ///
    /// # Errors
    /// An empty group, an unknown selector or predicate, a bad expression; the text goes to the framework.
    pub(crate) fn compile(constraints: Option<&OfferConstraints>) -> Result<Self, String> {
        let Some(constraints) = constraints else { return Ok(Self::default()) };
        let mut roles = BTreeMap::new();
        for (role, constraints) in &constraints.role_constraints {
            let groups = groups(constraints).map_err(|error| {
                format!("Offer constraints for role '{role}' are invalid: {error}")
            })?;
            roles.insert(role.clone(), groups);
        }
        Ok(Self { roles })
    }

    /// Whether an agent may be offered to a role; a role without constraints takes all.
    pub(super) fn allow(&self, role: &str, agent: &AgentInfo) -> bool {
        self.roles.get(role).is_none_or(|groups| {
            groups.iter().any(|group| group.iter().all(|constraint| constraint.allows(agent)))
        })
    }
}

fn groups(constraints: &RoleConstraints) -> Result<Vec<Vec<Constraint>>, String> {
    if constraints.groups.is_empty() {
        return Err("'groups' must not be empty".to_owned());
    }
    constraints
        .groups
        .iter()
        .map(|group| {
            if group.attribute_constraints.is_empty() {
                return Err("'attribute_constraints' must not be empty".to_owned());
            }
            group.attribute_constraints.iter().map(constraint).collect()
        })
        .collect()
}

fn constraint(constraint: &AttributeConstraint) -> Result<Constraint, String> {
    let subject = match &constraint.selector.selector {
        Some(selector::Selector::AttributeName(name)) => Subject::Attribute(name.clone()),
        Some(selector::Selector::PseudoattributeType(number)) => {
            match PseudoattributeType::try_from(*number) {
                Ok(PseudoattributeType::Hostname) => Subject::Hostname,
                Ok(PseudoattributeType::Region) => Subject::Region,
                Ok(PseudoattributeType::Zone) => Subject::Zone,
                Ok(PseudoattributeType::Unknown) | Err(_) => {
                    return Err("Unknown pseudoattribute type".to_owned());
                }
            }
        }
        None => {
            return Err("Exactly one of 'AttributeConstraint::Selector::name' or \
                 'AttributeConstraint::Selector::pseudoattribute_type' must be set"
                .to_owned());
        }
    };
    let test = match &constraint.predicate.predicate {
        Some(predicate::Predicate::Exists(_)) => Test::Exists,
        Some(predicate::Predicate::NotExists(_)) => Test::NotExists,
        Some(predicate::Predicate::TextEquals(text)) => Test::Equals(text.value.clone()),
        Some(predicate::Predicate::TextNotEquals(text)) => Test::NotEquals(text.value.clone()),
        Some(predicate::Predicate::TextMatches(text)) => Test::Matches(compile(&text.regex)?),
        Some(predicate::Predicate::TextNotMatches(text)) => Test::NotMatches(compile(&text.regex)?),
        None => return Err("Unknown predicate type".to_owned()),
    };
    Ok(Constraint { subject, test })
}

fn compile(expression: &str) -> Result<Regex, String> {
    // A match is one of the whole text.
    regex::RegexBuilder::new(&format!("^(?:{expression})$"))
        .size_limit(REGEX_SIZE)
        .dot_matches_new_line(false)
        .build()
        .map_err(|error| format!("Failed to construct regex from pattern '{expression}': {error}"))
}

impl Constraint {
    fn allows(&self, agent: &AgentInfo) -> bool {
        match (&self.test, self.subject.find(agent)) {
            (Test::Exists, found) => !matches!(found, Found::Missing),
            (Test::NotExists, found) => matches!(found, Found::Missing),
            (Test::Equals(_) | Test::Matches(_), Found::Missing) => false,
            (Test::NotEquals(_) | Test::NotMatches(_), Found::Missing) => true,
            (
                Test::Equals(_) | Test::Matches(_) | Test::NotEquals(_) | Test::NotMatches(_),
                Found::NoText,
            ) => true,
            (Test::Equals(wanted), Found::Text(text)) => wanted == text,
            (Test::NotEquals(wanted), Found::Text(text)) => wanted != text,
            (Test::Matches(regex), Found::Text(text)) => regex.is_match(text),
            (Test::NotMatches(regex), Found::Text(text)) => !regex.is_match(text),
        }
    }
}

impl Subject {
    fn find<'a>(&self, agent: &'a AgentInfo) -> Found<'a> {
        let domain = agent.domain.as_ref().and_then(|domain| domain.fault_domain.as_ref());
        match self {
            Self::Hostname => Found::Text(&agent.hostname),
            Self::Region => {
                domain.map_or(Found::Missing, |domain| Found::Text(&domain.region.name))
            }
            Self::Zone => domain.map_or(Found::Missing, |domain| Found::Text(&domain.zone.name)),
            // Only the first attribute of a name counts.
            Self::Attribute(name) => agent
                .attributes
                .iter()
                .find(|attribute| attribute.name == *name)
                .map_or(Found::Missing, text_of),
        }
    }
}

fn text_of(attribute: &Attribute) -> Found<'_> {
    match &attribute.text {
        Some(text) if attribute.r#type == value::Type::Text as i32 => Found::Text(&text.value),
        Some(_) | None => Found::NoText,
    }
}
