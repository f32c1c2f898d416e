-- How far each partition was handed to the bus, written lazily by its owner (ARCHITECTURE.md §4): whoever serves it next tells the edges
-- again what lies between here and the head.
create table partition_progress (
    partition smallint primary key,
    published bigint not null
) with (fillfactor = 50);
