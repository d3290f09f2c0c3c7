//! Who is calling, and what does its preflight get: the same time for ten tenants as for a hundred thousand.

#![expect(missing_docs, reason = "criterion's macros write an undocumented function")]
#![expect(clippy::expect_used, reason = "a bench that cannot be set up has nothing to measure")]

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use gateway::bench::Lookup;

fn lookup(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lookup");
    for tenants in [10, 1_000, 100_000] {
        let house = Lookup::new(tenants).expect("the tenants of the bench are valid");
        assert!((0..2048).all(|turn| house.identify(turn) && house.preflight(turn)));
        let mut turn = 0;
        group.bench_function(BenchmarkId::new("identify", tenants), |bencher| {
            bencher.iter(|| {
                turn += 1;
                house.identify(turn)
            });
        });
        group.bench_function(BenchmarkId::new("identify+preflight", tenants), |bencher| {
            bencher.iter(|| {
                turn += 1;
                house.preflight(turn)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, lookup);
criterion_main!(benches);
