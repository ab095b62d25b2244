//! A swarm piece by piece from the command line: `flow peers pieces piece_length degree seed transfer`.

use sim::flow::FlowScenario;

fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u32>().unwrap_or(0));
    let mut next = |default| args.next().unwrap_or(default);
    let scenario = FlowScenario {
        peers: next(1_000),
        pieces: next(1_000),
        piece_length: next(64 << 10),
        degree: next(20),
        seed: next(1).into(),
        transfer_blocks: next(8) as u16,
        ..FlowScenario::default()
    };
    let mut report = scenario.run();
    report.finishes_s.clear();
    println!("{report:#?}");
}
