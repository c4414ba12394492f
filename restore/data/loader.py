"""The dataset of an option block."""

from __future__ import annotations

from restore.config.data_options import FaceDatasetOptions, PairedDatasetOptions
from restore.data.component_file import read_component_file
from restore.data.face_dataset import FaceDataset, read_keys, read_sources
from restore.data.paired_dataset import PairedDataset
from restore.data.stores import open_stores


def open_dataset(
    options: FaceDatasetOptions | PairedDatasetOptions, out_size: int | None = None
) -> FaceDataset | PairedDataset:
    """The dataset of an option block. out_size: px of the network, where the block has none.

    Crops that are to go back into the FFHQ frame on the device (`options.frame`) keep the size in
    which they are stored.
    """
    keys = None if options.meta_info_file is None else read_keys(options.meta_info_file)
    size = options.out_size or out_size
    if isinstance(options, PairedDatasetOptions):
        return PairedDataset(
            open_stores([options.dataroot_lq], options.io_backend.type),
            open_stores([options.dataroot_gt], options.io_backend.type),
            keys,
            size,
            options.filename_tmpl,
            options.num_images,
        )
    store = open_stores(options.roots, options.io_backend.type)
    keys = tuple(sorted(store.keys) if keys is None else keys)[: options.num_images]
    sources = None
    if options.source_csv is not None:
        sources = read_sources(options.source_csv, options.source_column)
    boxes = None
    if options.component_path is not None and options.crop_components:
        boxes = read_component_file(options.component_path, keys, options.eye_enlarge_ratio)
    return FaceDataset(
        store,
        keys,
        size if options.frame.is_plain else None,
        sources,
        options.frame.zoom,
        options.frame.centre,
        options.eye_enlarge_ratio,
        boxes,
    )
