"""What is known of exporters beyond their tensors: tables, origins, advice."""
