"""What stays in view is shown on a page without a kernel too."""

from reactive_demo import Cache, KeepInView, ProfileCard, Profiles, RowGrid, Windows

VIEW = "application/vnd.jupyter.widget-view+json"


def test_cards_are_a_picture(profiles: Profiles, cache: Cache) -> None:
    windows = Windows(ProfileCard(profiles, cache, "ada"))
    kept = KeepInView(windows)
    bundle = kept._repr_mimebundle_()
    assert bundle["text/plain"] == repr(windows)
    assert bundle["image/svg+xml"] == kept.to_svg() == windows.to_svg()
    assert bundle[VIEW]["model_id"] == kept.model_id
    windows.close()


def test_a_grid_is_a_table(cache: Cache) -> None:
    grid = RowGrid(cache)
    kept = KeepInView(grid)
    bundle = kept._repr_mimebundle_()
    assert bundle["text/html"] == grid.to_html()
    assert bundle[VIEW]["model_id"] == kept.model_id
    assert kept.to_svg() == ""
    grid.close()
