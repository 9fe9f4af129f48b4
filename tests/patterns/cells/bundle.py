# %%
%%writefile metadata.json
{"name": "Sphere segmentation", "version": "0.3.1", "network_data_format": {}}
# %%
%%writefile train.yaml
imports:
- $import glob
bundle_root: .
ckpt_dir: $@bundle_root + '/models'
images: $sorted(glob.glob('volumes/image*.nii.gz'))
labels: $sorted(glob.glob('volumes/label*.nii.gz'))
max_epochs: 1
learning_rate: 0.002
network:
  _target_: UNet
  spatial_dims: 3
  in_channels: 1
  out_channels: 2
  channels: [4, 8]
  strides: [2]
train:
  preprocessing:
    _target_: Compose
    transforms:
    - _target_: LoadImaged
      keys: [image, label]
    - _target_: EnsureChannelFirstd
      keys: [image, label]
  dataset:
    _target_: Dataset
    data: "$[{'image': i, 'label': l} for i, l in zip(@images[:5], @labels[:5])]"
    transform: '@train#preprocessing'
  trainer:
    _target_: SupervisedTrainer
    max_epochs: '@max_epochs'
    device: $torch.device('cpu')
    train_data_loader:
      _target_: DataLoader
      dataset: '@train#dataset'
      batch_size: 2
      shuffle: true
    network: '@network'
    loss_function:
      _target_: DiceCELoss
      to_onehot_y: true
      softmax: true
    optimizer:
      _target_: torch.optim.Adam
      params: $@network.parameters()
      lr: '@learning_rate'
    train_handlers:
    - _target_: ValidationHandler
      validator: '@validate#evaluator'
      interval: 1
validate:
  dataset:
    _target_: Dataset
    data: "$[{'image': i, 'label': l} for i, l in zip(@images[5:], @labels[5:])]"
    transform: '@train#preprocessing'
  evaluator:
    _target_: SupervisedEvaluator
    device: $torch.device('cpu')
    val_data_loader:
      _target_: DataLoader
      dataset: '@validate#dataset'
      batch_size: 1
    network: '@network'
    postprocessing:
      _target_: Compose
      transforms:
      - _target_: AsDiscreted
        keys: [pred, label]
        argmax: [true, false]
        to_onehot: 2
    key_val_metric:
      val_mean_dice:
        _target_: MeanDice
        include_background: false
        output_transform: $monai.handlers.from_engine(['pred', 'label'])
    val_handlers:
    - _target_: CheckpointSaver
      save_dir: '@ckpt_dir'
      save_dict:
        model: '@network'
      save_key_metric: true
      key_metric_filename: model.pt
initialize:
- $monai.utils.set_determinism(seed=123)
run:
- $@train#trainer.run()
# %% tracked
from monai.bundle import ConfigWorkflow

workflow = ConfigWorkflow(config_file="train.yaml", meta_file="metadata.json", workflow_type="train", max_epochs=2)
workflow.initialize()
workflow.run()
workflow.finalize()
# %%
import json

metrics = workflow.parser.get_parsed_content("validate#evaluator").state.metrics
print(json.dumps({"dice": metrics["val_mean_dice"]}))
