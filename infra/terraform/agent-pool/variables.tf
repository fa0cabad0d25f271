variable "name" {
  description = "Name of the pool and of its join token, pool-<name>."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$", var.name))
    error_message = "Use a-z, 0-9 and \"-\", at most 32."
  }
}

variable "api_url" {
  description = "The output ApiUrl of the stack Postern, as https://abc.execute-api.eu-west-1.amazonaws.com."
  type        = string

  validation {
    condition     = can(regex("^https://[a-z0-9.-]+$", var.api_url))
    error_message = "Use the output ApiUrl of the stack Postern, https:// and a host without a path."
  }
}

variable "archive" {
  description = "The agent's archive for arm64: bucket, key and SHA-256, as the deployment uploaded it."
  type = object({
    bucket = string
    key    = string
    sha256 = string
  })

  validation {
    condition     = can(regex("^[0-9a-f]{64}$", var.archive.sha256))
    error_message = "sha256 has 64 hexadecimal digits; artefacts/manifest.json names it."
  }
}

variable "subnet_ids" {
  description = "Subnets of the instances. They dial out: a NAT or public addresses."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) > 0
    error_message = "Name at least one subnet."
  }
}

variable "vpc_id" {
  description = "VPC of the subnets."
  type        = string

  validation {
    condition     = can(regex("^vpc-[0-9a-f]+$", var.vpc_id))
    error_message = "Use the id of a VPC, vpc-…"
  }
}

variable "labels" {
  description = "Labels of every node, which roles match. The token puts them on it; also tags of the instances."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.labels) : can(regex("^[A-Za-z0-9_./-]{1,128}$", name))])
    error_message = "Names of labels have letters, digits and \"_ . / -\"."
  }
}

variable "capacity" {
  description = "Instances."
  type        = number
  default     = 1

  validation {
    condition     = var.capacity >= 1 && var.capacity <= 500 && floor(var.capacity) == var.capacity
    error_message = "Use a whole number from 1 to 500."
  }
}

variable "instance_type" {
  description = "A type with an arm64 processor."
  type        = string
  default     = "t4g.small"

  validation {
    condition     = can(regex("^[a-z]+[0-9]+g[a-z]*\\.", var.instance_type))
    error_message = "Use an arm64 (Graviton) type, as t4g.small."
  }
}
