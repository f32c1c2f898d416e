-- How far each partition was handed to the bus, written lazily by its owner (ARCHITECTURE.md §4).
create table partition_progress (
    partition integer primary key,
    published integer not null
) strict;
