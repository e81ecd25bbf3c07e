-- The source of the stored fixtures, up to the last position that their lakes have. Each fixture
-- was made from this very text, and the tests run it again to make a source that matches: what
-- Postgres numbers (oids, transactions) comes out the same, because nothing else runs there.
-- So it never changes; what a later release adds goes into a file of its own.

create table customers(id bigint primary key, name text not null, email text);
create table events(at timestamptz, kind text, body jsonb);  -- Without a key.
alter table events replica identity full;
create table documents(id int primary key, body text, note text);
alter table documents alter column body set storage external;
create table kinds(
    id int primary key, b bool, i2 int2, i8 int8, f4 float4, f8 float8, n numeric(20, 4), n_any numeric,
    t text, vc varchar(20), c char(5), by bytea, d date, ti time, ts timestamp, tz timestamptz, iv interval,
    u uuid, j json, jb jsonb, ai int[], at text[], inet_ inet, r int4range, bits bit(3), xml_ xml);
create table "Odd ""names""; --"("the key" int primary key, "select" text);
create table "unfit"(id int primary key, at timestamp);
create table resting(id int primary key, note text);
create publication shop for table customers, events, documents, kinds, "Odd ""names""; --", "unfit", resting;

insert into customers select g, 'customer ' || g, case when g % 3 > 0 then g || '@example.org' end
    from generate_series(1, 200) g;
insert into events select timestamptz '2026-01-01 00:00+00' + g / 2 * interval '1 hour', 'kind ' || g % 3,
    jsonb_build_object('n', g / 2) from generate_series(1, 60) g;
insert into documents select g, repeat('body ' || g || ', ', 1000), 'first' from generate_series(1, 5) g;
insert into kinds values
    (1, true, -32768, 9223372036854775807, 'NaN', '-Infinity', 1234567890123456.7891, 1e-30, 'text ''"\', 'vc', 'c',
     '\x00ff', 'infinity', '24:00', '0044-03-15 00:00 BC', '2026-02-03 04:05:06.789+00', '1 mon -2 days 00:00:03.5',
     'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"b":1, "a" : 2}', '{"a": 2}', '{1,NULL,3}', '{"a,b",NULL,""}',
     '10.0.0.0/8', '[1,5)', B'101', '<a/>'),
    (2, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null,
     null, null, null, null, null, null, null);
insert into "Odd ""names""; --" values (1, 'one'), (2, null);
insert into "unfit" values (1, '2026-01-01');
insert into resting values (1, 'before'), (2, 'before');
-- walbrook: copied
update customers set email = 'new@example.org' where id % 50 = 0;
delete from customers where id = 7;
update customers set id = 1000 where id = 8;
delete from events where ctid = (select min(ctid) from events);  -- One of two equal rows.
update documents set note = 'second';  -- The bodies are not sent.
insert into kinds select 3, b, i2, i8, f4, f8, n, n_any, t, vc, c, by, d, ti, ts, tz, iv, u, j, jb, ai, at, inet_, r,
    bits, xml_ from kinds where id = 1;
alter table customers add column level int not null default 3;
alter table customers rename column name to full_name;
insert into customers values (300, 'late', null, 9);
insert into "unfit" values (2, '294270-01-01');  -- The lake ends before: the table is errored.
-- walbrook: streamed
insert into resting values (3, 'while it rested');
truncate "Odd ""names""; --";
insert into "Odd ""names""; --" values (3, 'after the truncate');
-- walbrook: paused
insert into customers values (301, 'the last of the fixture', null, 1);
