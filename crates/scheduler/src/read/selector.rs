//! Label selectors and node selectors.

use super::BadField;
use crate::model::Intern;
use crate::model::Labels;
use crate::model::NodeSelector;
use crate::model::NodeTerm;
use crate::model::Operator;
use crate::model::Requirement;
use crate::model::Selector;
use crate::wire;

pub(super) fn labels(map: &wire::StringMap, intern: &Intern) -> Labels {
    Labels::new(map.iter().map(|(key, value)| (intern.str(key), intern.str(value))))
}

/// Converts a label selector; an absent one matches nothing.
pub(super) fn selector(selector: Option<&wire::LabelSelector>, intern: &Intern) -> Result<Selector, BadField> {
    let Some(selector) = selector else { return Ok(Selector::Nothing) };
    let exact = selector.match_labels.iter().map(|(key, value)| (intern.str(key), intern.str(value)));
    let expressions = requirements(&selector.match_expressions, "matchExpressions", Operators::OfLabels, intern)?;
    Ok(Selector::of_labels(exact).and(expressions))
}

/// Which operators are valid.
#[derive(Clone, Copy, PartialEq)]
enum Operators {
    OfLabels,
    /// Node selectors can compare integers as well.
    OfNodes,
}

fn requirements(
    all: &[wire::SelectorRequirement],
    field: &str,
    operators: Operators,
    intern: &Intern,
) -> Result<Vec<Requirement>, BadField> {
    let read = |(at, one)| requirement(one, operators, intern).map_err(|bad| bad.within(&format!("{field}[{at}]")));
    all.iter().enumerate().map(read).collect()
}

fn requirement(
    one: &wire::SelectorRequirement,
    operators: Operators,
    intern: &Intern,
) -> Result<Requirement, BadField> {
    let values = || one.values.iter().map(|value| intern.str(value)).collect();
    // The API accepts any text as the bound of Gt and Lt: one that is not an integer matches no value, and the other
    // terms stay valid.
    let number = |operator: fn(i64) -> Operator| match one.values.as_slice() {
        [value] => Ok(value.parse().map_or(Operator::Never, operator)),
        _ => Err(BadField::new("values", "exactly one value is required")),
    };
    let operator = match one.operator.as_str() {
        "In" | "NotIn" if one.values.is_empty() => {
            return Err(BadField::new("values", "at least one value is required"));
        }
        "In" => Operator::In(values()),
        "NotIn" => Operator::NotIn(values()),
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" if operators == Operators::OfNodes => number(Operator::Gt)?,
        "Lt" if operators == Operators::OfNodes => number(Operator::Lt)?,
        other => return Err(BadField::new("operator", format!("{other:?} is not a valid operator"))),
    };
    Ok(Requirement { key: intern.str(&one.key), operator })
}

pub(super) fn node_selector(selector: &wire::NodeSelector, intern: &Intern) -> Result<NodeSelector, BadField> {
    let read =
        |(at, term)| node_term(term, intern).map_err(|bad: BadField| bad.within(&format!("nodeSelectorTerms[{at}]")));
    selector.node_selector_terms.iter().enumerate().map(read).collect::<Result<_, _>>().map(NodeSelector)
}

pub(super) fn node_term(term: &wire::NodeSelectorTerm, intern: &Intern) -> Result<NodeTerm, BadField> {
    if let Some(at) = term.match_fields.iter().position(|field| field.key != "metadata.name") {
        let reason = format!("{:?} is not selectable, only metadata.name", term.match_fields[at].key);
        return Err(BadField::new(format!("matchFields[{at}].key"), reason));
    }
    Ok(NodeTerm {
        labels: requirements(&term.match_expressions, "matchExpressions", Operators::OfNodes, intern)?.into(),
        names: requirements(&term.match_fields, "matchFields", Operators::OfNodes, intern)?.into(),
    })
}
