# A group of EC2 instances that are agents from their first minute, as the CDK construct AgentPool: they join by iam with the role made here.
terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

data "aws_caller_identity" "here" {}
data "aws_partition" "here" {}

data "aws_ssm_parameter" "image" {
  name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"
}

locals {
  token_name = "pool-${var.name}"
  home       = substr(var.archive.sha256, 0, 12)

  config = jsonencode({
    version     = "v1"
    postern     = { proxy_server = var.api_url, join_params = { method = "iam", token_name = local.token_name } }
    ssh_service = { enabled = true }
  })

  # Nothing in it is secret: user data can be read by everything on the instance.
  first_start = <<-EOT
    #!/bin/bash
    set -eu
    work=$(mktemp -d)
    aws s3 cp --only-show-errors 's3://${var.archive.bucket}/${var.archive.key}' "$work/agent.tar.gz"
    echo '${var.archive.sha256}  '"$work/agent.tar.gz" | sha256sum -c -
    mkdir -p /opt/postern
    tar -xzf "$work/agent.tar.gz" -C "$work" --no-same-owner
    mv "$work/postern" /opt/postern/${local.home}
    ln -sfn ${local.home} /opt/postern/current
    ln -sfn /opt/postern/current/bin/postern /usr/local/bin/postern
    umask 077
    echo '${base64encode(local.config)}' | base64 -d > /etc/postern.yaml
    umask 022
    /usr/local/bin/postern agent install -c /etc/postern.yaml
  EOT

  token = {
    kind     = "token"
    version  = "v2"
    metadata = { name = local.token_name, description = "declared by Terraform" }
    spec = {
      roles       = ["Node", "App"]
      join_method = "iam"
      allow = [{
        aws_account = data.aws_caller_identity.here.account_id
        aws_arn     = "arn:${data.aws_partition.here.partition}:sts::${data.aws_caller_identity.here.account_id}:assumed-role/${aws_iam_role.agent.name}/i-*"
      }]
      forced_labels = merge(var.labels, { pool = var.name })
      shared_names  = true
    }
  }
}

resource "aws_iam_role" "agent" {
  name_prefix = "postern-${var.name}-"
  description = "Postern agents of pool ${var.name}: to be recognised, and to fetch their program"

  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = "sts:AssumeRole", Principal = { Service = "ec2.amazonaws.com" } }]
  })
}

resource "aws_iam_role_policy" "agent" {
  role = aws_iam_role.agent.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = "s3:GetObject"
      Resource = "arn:${data.aws_partition.here.partition}:s3:::${var.archive.bucket}/${var.archive.key}"
    }]
  })
}

resource "aws_iam_instance_profile" "agent" {
  name_prefix = "postern-${var.name}-"
  role        = aws_iam_role.agent.name
}

resource "aws_security_group" "agent" {
  name_prefix = "postern-${var.name}-"
  description = "Postern agents of pool ${var.name}: they dial out, nobody dials in"
  vpc_id      = var.vpc_id

  egress {
    from_port   = 0
    to_port     = 0
    protocol    = "-1"
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_launch_template" "agent" {
  name_prefix            = "postern-${var.name}-"
  image_id               = data.aws_ssm_parameter.image.value
  instance_type          = var.instance_type
  vpc_security_group_ids = [aws_security_group.agent.id]
  user_data              = base64encode(local.first_start)

  iam_instance_profile {
    arn = aws_iam_instance_profile.agent.arn
  }

  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "enabled"
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_size = 8
      volume_type = "gp3"
      encrypted   = true
    }
  }
}

resource "aws_autoscaling_group" "agent" {
  name_prefix         = "postern-${var.name}-"
  min_size            = var.capacity
  max_size            = var.capacity + 1
  vpc_zone_identifier = var.subnet_ids

  launch_template {
    id      = aws_launch_template.agent.id
    version = aws_launch_template.agent.latest_version
  }

  # One after the other, when anything of the template changes.
  instance_refresh {
    strategy = "Rolling"

    preferences {
      min_healthy_percentage = 100
      max_healthy_percentage = 200
    }
  }

  dynamic "tag" {
    for_each = merge({ for name, value in var.labels : "postern:label:${name}" => value }, { "postern:pool" = var.name })

    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }
}
