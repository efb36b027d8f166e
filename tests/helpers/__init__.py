"""What several tests share: samples, data sets, models, the contract that every model keeps."""
