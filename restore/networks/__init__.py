"""Networks: nn.Modules only, shapes in, shapes out."""
