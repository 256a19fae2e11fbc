"""What the pytest plugin is made of; `mesh_fixtures.plugin` puts it together."""
