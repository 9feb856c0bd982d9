//! `report.html` needs nothing but itself, and tells what happened.

use std::fs;

use stateset_actors::protocol::Site;

use crate::panics::survive;

#[tokio::test(flavor = "multi_thread")]
async fn a_report_stands_alone_and_tells_what_happened() {
    let (lab, _) = survive(Site::Judge, 30, 1).await;
    let page = fs::read_to_string(lab.run().report()).unwrap();
    let linked = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    assert!(!linked.contains("http://") && !linked.contains("https://") && !linked.contains("<script"));

    let section = |title: &str| {
        let from = page.find(&format!("<h2>{title}</h2>")).unwrap_or_else(|| panic!("no section \"{title}\""));
        let (section, _) = page[from..].split_once("</section>").unwrap();
        section.to_owned()
    };
    let curves = section("Learning curves");
    assert!(curves.contains("<svg") && curves.contains("step 6:"));
    let pairs = section("Before and after");
    assert!(pairs.matches("said assistant").count() >= 2 && pairs.contains("account"));
    let log = section("Supervision log");
    assert!(log.contains("injected fault: visit 30 of judge") && log.contains("judge") && log.contains("restarts"));
    assert!(section("Configuration").contains("groups_per_step: 4"));
}
