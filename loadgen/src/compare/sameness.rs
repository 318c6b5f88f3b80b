//! Whether two results are of the same thing.
//!
//! Contract: pure. What may differ is the server, its address and the topic's name; all other parameters, the machine
//! and the cores, may not.

use serde_json::Value;

/// Everything that speaks against comparing the results with these names, each in words of its own.
pub(super) fn objections(names: &[String; 2], results: [&Value; 2]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, result) in names.iter().zip(results) {
        found.extend(unusable(result).map(|reason| format!("{name} {reason}")));
    }
    let mut differ = |what: &str, [a, b]: [&Value; 2]| {
        found.push(format!("{what} is {a} in {} and {b} in {}", names[0], names[1]));
    };
    let both = |place: &str| results.map(|result| result["header"].pointer(place).unwrap_or(&Value::Null));
    walk("", both("/parameters"), &mut differ);
    walk("pinned", both("/pinned"), &mut differ);
    for place in ["cpu", "cores"] {
        walk(&format!("the machine's {place}"), both(&format!("/machine/{place}")), &mut differ);
    }
    found
}

/// Why its figures are not to be used, where they are not.
fn unusable(result: &Value) -> Option<String> {
    if result["verified"] == false {
        return Some("failed its verification".to_owned());
    }
    let reason = match result["valid"] == false {
        true => &result["invalid_reason"],
        // A knee is invalid where the generator gave up first.
        false if result["limited_by"] == "generator" => &result["failed_reason"],
        false => return None,
    };
    Some(format!("is not a valid measurement ({})", reason.as_str().unwrap_or("no reason given")))
}

/// Tells every leaf in which the two differ, by its path.
fn walk(path: &str, [a, b]: [&Value; 2], differ: &mut impl FnMut(&str, [&Value; 2])) {
    let (Some(one), Some(other)) = (a.as_object(), b.as_object()) else {
        if a != b {
            differ(path, [a, b]);
        }
        return;
    };
    let only_in_b = other.keys().filter(|key| !one.contains_key(*key));
    for key in one.keys().chain(only_in_b).filter(|key| *key != "topic") {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        walk(&path, [&a[key], &b[key]], differ);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn result() -> Value {
        json!({
            "header": {
                "server": "x",
                "machine": { "cpu": "c", "cores": 2, "kernel": "k" },
                "parameters": { "scenario": "fanout", "topic": "t", "amount": { "timed": { "measured_s": 3.0 } } },
            },
            "verified": true,
            "valid": true,
        })
    }

    fn objections_to(spoil: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut other = result();
        spoil(&mut other);
        objections(&["A".to_owned(), "B".to_owned()], [&result(), &other])
    }

    #[test]
    fn server_kernel_and_topic_may_differ() {
        let found = objections_to(|other| {
            other["header"]["server"] = json!("y");
            other["header"]["machine"]["kernel"] = json!("l");
            other["header"]["parameters"]["topic"] = json!("u");
        });
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn whatever_else_differs_is_named_with_both_values() {
        let found = objections_to(|other| {
            other["header"]["parameters"]["amount"]["timed"]["measured_s"] = json!(4.0)
        });
        assert_eq!(found, ["amount.timed.measured_s is 3.0 in A and 4.0 in B"]);
        let found = objections_to(|other| other["header"]["parameters"]["new"] = json!(1));
        assert_eq!(found, ["new is null in A and 1 in B"]);
        let found = objections_to(|other| other["header"]["machine"]["cores"] = json!(4));
        assert_eq!(found, ["the machine's cores is 2 in A and 4 in B"]);
    }

    #[test]
    fn figures_that_are_not_to_be_used_are_objected_to() {
        let found = objections_to(|other| {
            (other["valid"], other["invalid_reason"]) = (json!(false), json!("too slow"));
        });
        assert_eq!(found, ["B is not a valid measurement (too slow)"]);
        assert_eq!(objections_to(|other| other["verified"] = json!(false)), ["B failed its verification"]);
        let found = objections_to(|other| {
            (other["limited_by"], other["failed_reason"]) = (json!("generator"), json!("busy"));
        });
        assert_eq!(found, ["B is not a valid measurement (busy)"]);
    }
}
