"""The modules that methods insert into a backbone."""
