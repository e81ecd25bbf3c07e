-- What happens at the source while the next release is installed.
insert into customers select g, 'next ' || g, null, 2 from generate_series(400, 450) g;
delete from customers where id between 20 and 30;
update customers set full_name = 'changed' where id = 300;
insert into events values ('2027-01-01 00:00+00', 'new', '{}'), ('2027-01-01 00:00+00', 'new', '{}');
delete from events where kind = 'kind 1';
update documents set note = 'third' where id < 4;
update kinds set t = 'changed' where id = 1;
alter table documents add column length int;
update documents set length = 5 where id = 5;
insert into resting values (4, 'after it rested');
