"""Keys of BasicSR's option files that are understood and not needed, each with its reason."""

OLD_KEYS = {
    "find_unused_parameters": "every trained weight gets a gradient",
    "is_train": "the command says whether this is a training",
    "dist_params.port": "torchrun chooses the port",
    "dist_params.launcher": "--launcher says it",
    "datasets.*.phase": "the block's name says it",
    "datasets.*.scale": "a restorer keeps the size",
    "datasets.*.prefetch_mode": "batches are always fetched ahead",
    "datasets.*.num_prefetch_queue": "batches are always fetched ahead",
    "datasets.*.pin_memory": "memory is pinned where a GPU reads it",
    "datasets.*.persistent_workers": "workers always persist",
    "datasets.*.use_rot": "faces are upright; rotation is frame.jitter_rotation",
    "datasets.*.color_jitter_pt": "color_jitter_pt_prob says it",
    "network_identity.norm_layer": "the weights file says it",
    "path.root": "runs lie in path.experiments_root",
    "path.strict_load": "strict_load_g and strict_load_d say it",
    "path.param_key": "param_key_g and param_key_d say it",
    "path.pretrain_network_g_ema": "param_key_g chooses the weights in the file",
    "train.perceptual_opt.pooling_stride": "VGG19 pools by 2",
    "train.perceptual_opt.remove_pooling": "VGG19 pools",
    "val.use_pbar": "progress is logged",
    "val.pbar": "progress is logged",
    "logger.use_wandb": "wandb.project switches it",
}
"""Dotted path, `*` for any one name -> why the key does nothing. Everything else is refused."""
