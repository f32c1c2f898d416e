use super::*;

#[test]
fn an_image_counts_what_it_keeps_although_nobody_reaches_the_database() {
    let mut world = World::new(0, false);
    let rows = |world: &World| {
        let partitions = world.wires.partitions.all();
        partitions
            .map(|partition| count(&world.wires.database.rows(partition)))
            .collect::<Vec<u64>>()
    };
    while rows(&world).iter().sum::<u64>() < 10 {
        let (at, event) = world.wires.schedule.pop().unwrap();
        world.step(at, event);
    }
    // Whatever was planned for it, from here on only this happens.
    world.act(Act::Away(false));
    let kept = rows(&world);
    world.act(Act::Away(true));
    world.act(Act::Snapshot);
    assert_eq!(world.image_rows, kept);
    assert_eq!(rows(&world).iter().sum::<u64>(), 0, "still away");
}
